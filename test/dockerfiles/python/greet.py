import sys

from jinja2 import Template


def greet(name):
    return Template("Hello, {{ name }}!").render(name=name)


if __name__ == "__main__":
    print(greet(sys.argv[1]))
