"""Stories about a tree, one step a line, run against every store.

    mkdir /a want ok               create_folder
    write /a/b hello want created  an upload of the word; created or replaced
    remove /a want ok              delete
    move_ o=F /a /b want created   move; o=T overwrites
    copy_ o=T d=0 /a /b want ...   copy; d=0 is not recursive
    props /a red want ok           update: the property "colour" becomes that word
    stat_ /a want folder           folder, file or nothing
    read_ /a want hello            the content
    prop_ /a want red              the property, or - when there is none
    tree_ / want a/ a/b c          everything below, in order; folders end in a slash

"want err X" expects the error of that class.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from davstore import errors
from davstore.stores.base import Store, Update
from tests.stores.harness import CTX, Harness, find, put, read, settle, tree

STORIES = {
    "folders are made one by one": """
        mkdir /a want ok
        mkdir /a want err Exists
        mkdir /b/c want err ParentMissing
        mkdir /a/b want ok
        mkdir /a/b/c want ok
        stat_ /a/b/c want folder
        stat_ /a/x want nothing
        tree_ / want a/ a/b/ a/b/c/
        """,
    "a file is not a folder": """
        write /a one want created
        mkdir /a want err Exists
        mkdir /a/b want err NotAFolder
        write /a/b two want err NotAFolder
        stat_ /a/b want nothing
        remove /a/b want err NotFound
        write /a three want replaced
        read_ /a want three
        """,
    "a folder is not a file": """
        mkdir /d want ok
        write /d x want err IsAFolder
        read_ /d want err IsAFolder
        write /d/x y want created
        remove /d/x want ok
        tree_ / want d/
        """,
    "what is removed is gone": """
        mkdir /a want ok
        mkdir /a/b want ok
        write /a/b/c one want created
        write /d two want created
        remove /a want ok
        remove /a want err NotFound
        remove /a/b/c want err NotFound
        remove / want err Forbidden
        tree_ / want d
        mkdir /a want ok
        tree_ / want a/ d
        """,
    "a move onto nothing": """
        mkdir /a want ok
        write /a/b one want created
        move_ o=F /a /c want created
        tree_ / want c/ c/b
        move_ o=F /a /d want err NotFound
        move_ o=F /c/b /d want created
        move_ o=T /d /e want created
        tree_ / want c/ e
        read_ /e want one
        """,
    "a move onto something": """
        write /a one want created
        write /b two want created
        move_ o=F /a /b want err Exists
        read_ /b want two
        move_ o=T /a /b want replaced
        read_ /b want one
        mkdir /d want ok
        write /d/x three want created
        move_ o=F /b /d want err Exists
        move_ o=T /b /d want replaced
        read_ /d want one
        mkdir /e want ok
        write /e/y four want created
        move_ o=T /e /d want replaced
        tree_ / want d/ d/y
        """,
    "a move of a tree onto a tree does not merge": """
        mkdir /a want ok
        mkdir /a/sub want ok
        write /a/sub/x one want created
        mkdir /b want ok
        mkdir /b/sub want ok
        write /b/sub/y two want created
        move_ o=T /a /b want replaced
        tree_ / want b/ b/sub/ b/sub/x
        """,
    "moves into itself": """
        mkdir /a want ok
        mkdir /a/b want ok
        move_ o=T /a /a want err IntoItself
        move_ o=T /a /a/b want err IntoItself
        move_ o=T /a /a/c want err IntoItself
        move_ o=T /a/b /a want err IntoItself
        move_ o=T / /a want err Forbidden
        move_ o=T /a / want err Forbidden
        move_ o=F /a /ab want created
        tree_ / want ab/ ab/b/
        """,
    "a chain of moves": """
        write /0 zero want created
        props /0 red want ok
        move_ o=F /0 /1 want created
        mkdir /d want ok
        move_ o=F /1 /d/2 want created
        move_ o=F /d /e want created
        move_ o=F /e/2 /0 want created
        read_ /0 want zero
        prop_ /0 want red
        tree_ / want 0 e/
        """,
    "two names change places": """
        write /a one want created
        props /a red want ok
        write /b two want created
        props /b blue want ok
        move_ o=F /a /tmp want created
        move_ o=F /b /a want created
        move_ o=F /tmp /b want created
        read_ /a want two
        prop_ /a want blue
        read_ /b want one
        prop_ /b want red
        """,
    "what editors do to save a file safely": """
        write /letter old want created
        props /letter red want ok
        write /letter.tmp new want created
        move_ o=F /letter /letter.bak want created
        move_ o=F /letter.tmp /letter want created
        remove /letter.bak want ok
        read_ /letter want new
        prop_ /letter want -
        tree_ / want letter
        """,
    "copies": """
        mkdir /a want ok
        mkdir /a/b want ok
        write /a/b/c one want created
        props /a/b red want ok
        copy_ o=F d=1 /a /x want created
        tree_ / want a/ a/b/ a/b/c x/ x/b/ x/b/c
        prop_ /x/b want red
        copy_ o=F d=1 /a /x want err Exists
        copy_ o=F d=0 /a /y want created
        tree_ /y want
        write /x/b/c two want replaced
        read_ /a/b/c want one
        copy_ o=T d=0 /a /x want replaced
        tree_ /x want
        copy_ o=T d=1 /a/b/c /x want replaced
        read_ /x want one
        copy_ o=T d=1 /a /x want replaced
        read_ /x/b/c want one
        copy_ o=T d=1 /a /a/b want err IntoItself
        copy_ o=T d=1 /nothing /a want err NotFound
        copy_ o=T d=1 /a /nothing/x want err ParentMissing
        """,
    "properties": """
        write /a one want created
        prop_ /a want -
        props /a red want ok
        write /a two want replaced
        prop_ /a want red
        copy_ o=F d=1 /a /b want created
        props /b blue want ok
        prop_ /a want red
        move_ o=T /b /a want replaced
        prop_ /a want blue
        remove /a want ok
        write /a three want created
        prop_ /a want -
        props /nothing red want err NotFound
        """,
}

COLOUR = "{urn:x}colour"


def call(store: Store, verb: str, words: list[str]) -> str:
    """Do one step; what came of it, in the words of the stories."""
    flags = dict(word.split("=") for word in words if "=" in word)
    path, *rest = (word for word in words if "=" not in word)
    overwrite = flags.get("o") == "T"
    if verb in ("move_", "copy_"):
        outcome = (
            store.move(CTX, path, rest[0], overwrite=overwrite)
            if verb == "move_"
            else store.copy(CTX, path, rest[0], overwrite=overwrite, recursive=flags["d"] != "0")
        )
        return "created" if outcome.created else "replaced"
    if verb == "write":
        return "created" if put(store, path, rest[0].encode()).created else "replaced"
    return SIMPLE[verb](store, path, *rest)


def mkdir(store: Store, path: str) -> str:
    assert store.create_folder(CTX, path).is_folder
    return "ok"


def remove(store: Store, path: str) -> str:
    store.delete(CTX, path)
    return "ok"


def set_colour(store: Store, path: str, colour: str) -> str:
    assert store.update(CTX, path, Update({COLOUR: colour})).props[COLOUR] == colour
    return "ok"


def kind(store: Store, path: str) -> str:
    node = find(store, path)
    return "nothing" if node is None else "folder" if node.is_folder else "file"


def show(store: Store, path: str) -> str:
    found = tree(store, path).items()
    return " ".join(sorted(at + ("/" if content is None else "") for at, content in found))


SIMPLE: dict[str, Callable[..., str]] = {
    "mkdir": mkdir,
    "remove": remove,
    "props": set_colour,
    "stat_": kind,
    "read_": lambda store, path: read(store, path).decode(),
    "prop_": lambda store, path: store.stat(CTX, path).props.get(COLOUR, "-"),
    "tree_": show,
}


class Steps(Harness):
    @pytest.mark.parametrize("story", STORIES)
    def test_a_story_goes_as_it_is_written(self, store: Store, story: str) -> None:
        for line in filter(None, map(str.strip, STORIES[story].splitlines())):
            step, _, want = line.partition(" want")
            verb, *words = step.split()
            if want.startswith(" err "):
                with pytest.raises(getattr(errors, want.split()[-1])):
                    call(store, verb, words)
            else:
                assert call(store, verb, words) == want.strip(), line
        settle(store)
