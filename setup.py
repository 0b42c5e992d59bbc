"""The packages of the wheel; pyproject.toml has everything else.

The folder `models` lies beside the package, where people look for it, and is installed inside it.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["anonymizer", "anonymizer.*", "celantur_site"]), "anonymizer.model_files"],
    package_dir={"anonymizer.model_files": "models"},
)
