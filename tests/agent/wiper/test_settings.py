"""Where engines keep their files is read from their settings, their units and their command lines."""

from collections.abc import Callable

import pytest

from agent.wiper.engines.settings import (
    Told,
    of_containerd,
    of_docker,
    of_environment,
    of_options,
    of_podman,
    of_unit,
    words_of,
    words_of_variable,
)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("", ()),
        ("{}", ()),
        ('{"data-root": "/data/docker/", "exec-root": "/run/d"}', ("/data/docker", "/run/d")),
        ('{"graph": "/old"}', ("/old",)),
        ('{"data-root": "relative", "graph": 5, "exec-root": "/"}', ()),
    ],
)
def test_dockers_settings_name_its_directories(text: str, paths: tuple[str, ...]) -> None:
    """Only absolute ones, and never the whole machine."""
    assert of_docker(text) == Told(paths)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("", ()),
        ("[other]\n", ()),
        ('storage = "odd"\n', ()),
        ('[storage]\ngraphroot = "/d/c"\nrunroot = "/run/c"\nimagestore = "/i"\n', ("/d/c", "/run/c", "/i")),
        ('[storage.options]\nimagestore = "/i"\nadditionalimagestores = ["/a", "/b", 5]\n', ("/i", "/a", "/b")),
        ('[storage]\nrootless_storage_path = "/data/$USER"\n', ()),
    ],
)
def test_podmans_settings_name_its_directories(text: str, paths: tuple[str, ...]) -> None:
    """From the table for storage and its options; what users' own engines keep is theirs."""
    assert of_podman(text) == Told(paths)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", Told()),
        ('root = "/d/c"\nstate = "/run/c"\nversion = 2\n', Told(("/d/c", "/run/c"))),
        ('imports = ["/a/*.toml", "b.toml", 5]\n', Told((), ("/a/*.toml", "/etc/c/b.toml"))),
        ('plugins = 5\nimports = "odd"\n', Told()),
        ('[plugins.one]\nroot_path = "/snapshots"\n[plugins.two]\nother = 1\n', Told(("/snapshots",))),
    ],
)
def test_containerds_settings_name_its_directories(text: str, told: Told) -> None:
    """And the files with more of them, which may be named from where these lie."""
    assert of_containerd(text, "/etc/c/config.toml") == told


def _of_containerd(text: str) -> Told:
    return of_containerd(text, "/c.toml")


@pytest.mark.parametrize("read", [of_docker, of_podman, _of_containerd])
@pytest.mark.parametrize("text", ["[", "[1]]", "nothing"])
def test_settings_that_cannot_be_understood_are_an_error(read: Callable[[str], Told], text: str) -> None:
    """Nobody knows then where the files are."""
    with pytest.raises(ValueError, match=r".+"):
        read(text)


@pytest.mark.parametrize(
    ("engine", "line", "told"),
    [
        ("docker", "dockerd", Told()),
        ("docker", "dockerd --data-root /a --exec-root=/b", Told(("/a", "/b"))),
        ("docker", "dockerd -g /a -g=/b -g/c --graph /d", Told(("/a", "/b", "/c", "/d"))),
        ("docker", "dockerd --config-file=/a.json --label root=/x", Told((), ("/a.json",))),
        ("docker", "dockerd --data-root", Told()),
        ("docker", "dockerd --root /no --data-root relative", Told()),
        (
            "containerd",
            "containerd -root /a --state=/b -c /c.toml --config /d.toml",
            Told(("/a", "/b"), ("/c.toml", "/d.toml")),
        ),
        ("buildkit", "buildkitd --root=/a --config /b.toml", Told(("/a",), ("/b.toml",))),
        ("podman", "podman --root /a --runroot=/b --imagestore /c system service", Told(("/a", "/b", "/c"))),
        ("podman", "podman --root /a run image program --root /b", Told(("/a",))),
    ],
)
def test_command_lines_name_directories_and_settings(engine: str, line: str, told: Told) -> None:
    """In each form that the engine takes, and only by its own words."""
    assert of_options(engine, line.split()) == told


@pytest.mark.parametrize("word", ["--data-root=%S/docker", "--data-root=${UNKNOWN}/docker", "--config-file=$UNKNOWN"])
def test_what_only_the_service_manager_knows_is_an_error(word: str) -> None:
    """It is not taken for nothing."""
    with pytest.raises(ValueError, match="not known"):
        of_options("docker", ["dockerd", word])


UNIT = r"""
[Service]
# ExecStart=/old --root /not/this
Environment="A=1 2" B=/b
EnvironmentFile=-/etc/default/docker
ExecStart=
ExecStart=/usr/bin/dockerd --data-root "${B}/d d" \
; a comment in between
  $OPTIONS $UNKNOWN
"""


def test_a_units_command_line_is_read_with_its_variables() -> None:
    """Over several lines, without comments, in quotes or not."""
    unit = of_unit(UNIT)
    assert (unit.variables, unit.files) == ({"A": "1 2", "B": "/b"}, ("/etc/default/docker",))
    empty, command = unit.commands
    words = words_of(command, {**unit.variables, "OPTIONS": "-g /x"})
    assert empty == ""
    assert words == ("/usr/bin/dockerd", "--data-root", "/b/d d", "-g", "/x", "$UNKNOWN")


def test_files_with_variables_are_read_as_start_scripts_read_them() -> None:
    """With comments, exports, and lines that go on."""
    text = "# don't\n; nor 'this\nexport A=1\nOPTIONS=\"--data-root /a \\\n -D\" # last\nif true; then\nB='x'\n"
    assert of_environment(text) == {"A": "1", "OPTIONS": "--data-root /a   -D", "B": "x"}


def test_a_variable_with_an_odd_quote_is_no_reason_to_give_up() -> None:
    """A password in a proxy's address, say; options are found all the same."""
    assert words_of_variable("--data-root '/a b'") == ("--data-root", "/a b")
    assert words_of_variable("it's -g /a") == ("it's", "-g", "/a")


@pytest.mark.parametrize("text", ["A='", 'A="x\nB='])
def test_quotes_that_do_not_match_are_an_error(text: str) -> None:
    """In a whole file they may hide what follows."""
    with pytest.raises(ValueError, match="quotation"):
        of_environment(text)
