"""Packages are found by themselves; assets/ lies in an installed copy as vdu/_assets, see `vdu.assets`."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["vdu", "vdu.*"]), "vdu._assets"], package_dir={"vdu._assets": "assets"})
