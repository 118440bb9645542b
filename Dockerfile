# syntax=docker/dockerfile:1
# The base image is an argument, so that it can be pinned or mirrored. It has to have Python 3.11
# or later as python3, with venv.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
WORKDIR /src
# pip stays in an environment of its own, which is left behind.
RUN python3 -m venv /opt/pip \
    && python3 -m venv --without-pip /opt/davstore
# The dependencies first: they change less often than davstore does.
COPY requirements.lock ./
RUN /opt/pip/bin/pip --python /opt/davstore/bin/python3 install \
    --no-cache-dir --no-compile --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY davstore ./davstore
# Nothing is compiled ahead, as in the base image: that would be 17 MB for half a second at a start.
RUN /opt/pip/bin/pip --python /opt/davstore/bin/python3 install \
    --no-cache-dir --no-compile --no-deps . \
    && find /opt/davstore -type d -name tests -prune -exec rm -rf {} +

FROM ${BASE}
RUN groupadd --gid 10001 davstore \
    && useradd --uid 10001 --gid davstore --no-log-init --no-create-home --home-dir /state davstore \
    && install -d -o davstore -g davstore /data \
    && install -d -o davstore -g davstore -m 0700 /state /users
COPY --from=build /opt/davstore /opt/davstore
COPY config/container.yaml /etc/davstore/davstore.yaml

ENV PATH=/opt/davstore/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DAVSTORE_CONFIG=/etc/davstore/davstore.yaml

USER 10001:10001
WORKDIR /state
VOLUME ["/data", "/state"]
# Files; health, readiness and metrics.
EXPOSE 8080 8081
STOPSIGNAL SIGTERM

# Whether the process lives. That a share answers is asked at /readyz, by Consul or a balancer: no
# restart brings a database back.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python3", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8081, timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]

# In this form the supervisor is process 1 itself: signals reach it, and it reaps what is orphaned.
ENTRYPOINT ["davstore"]
CMD ["serve"]
