#!/bin/sh
# Stands in for Alpine's package manager: this image is made of Debian packages and reaches no package archive.
echo "apk: stand-in on an image made of Debian packages: nothing is installed for: $*"
exit 0
