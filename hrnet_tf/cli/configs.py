"""`hrnet-tf configs`: the flag files of the package."""

from hrnet_tf.cli import flagfiles


def main() -> None:
    paths = flagfiles.own_files()
    width = max(len(path.name) for path in paths)
    for path in paths:
        print(f"{path.name:{width}}  {flagfiles.first_line(path)}")
