"""Runs pytest files as Bazel tests."""

# Folders of tests/, each with a BUILD file that calls pytest_tests().
_ROOMS = [
    "analysis",
    "data",
    "downstream",
    "export",
    "fuzz",
    "growth",
    "modeling",
    "schedules",
    "soak",
    "study",
    "tpu_scripts",
    "training",
]

def pytest_tests():
    """Makes one py_test of every *_test.py in the calling package.

    The package's other Python files become its `helpers`, which every test may
    import as tests.<room>.<helper>.
    """
    native.py_library(
        name = "helpers",
        srcs = native.glob(
            ["*.py"],
            exclude = ["*_test.py", "pytest_main.py"],
            allow_empty = True,
        ),
        visibility = ["//tests:__subpackages__"],
    )
    for source in native.glob(["*_test.py"], allow_empty = True):
        native.py_test(
            name = source[:-len(".py")],
            timeout = "long",
            srcs = [
                source,
                "//tests:pytest_main.py",
            ],
            args = ["{}/{}".format(native.package_name(), source)],
            data = ["//:repository_files"],
            main = "//tests:pytest_main.py",
            deps = [
                "//gin_configs",
                "//official_ext",
                "//tests:helpers",
            ] + ["//tests/{}:helpers".format(room) for room in _ROOMS],
        )
