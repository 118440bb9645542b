"""`python -m davstore` is `davstore`."""

from davstore.cli import main

if __name__ == "__main__":
    main(prog_name="davstore")
