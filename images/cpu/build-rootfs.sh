#!/bin/bash
# Builds the root file system of the CPU task image from Debian's archive, the same bytes on every
# machine: one suite without updates, a fixed clock, a fixed hash seed, and nothing of the host
# (its mirror, name, resolver or apt settings) left inside.
#
#   build-rootfs.sh OUT.tar DEBS_DIR    needs root and mmdebstrap
#
# DEBS_DIR keeps the .deb files: the first build fills it, later builds take them from there, so
# the image can be rebuilt after the archive has moved on. The lock of what was installed is
# written to OUT.tar.lock (package, version, architecture, SHA-256 of the .deb).
# DEBIAN_MIRROR may name the archive's base URL; by default it is the one this host's apt uses.
set -euo pipefail
umask 022

SUITE=trixie
# The BLAS is named because the default one is about 25 times slower for torch.
PACKAGES=python3,python3-torch,python3-numpy,python3-safetensors,libopenblas0-pthread
# Later than every file in the packages: mtimes above it are clamped, and a clamped .py would not
# match its compiled .pyc any more. 2026-11-22T00:00:00Z.
export SOURCE_DATE_EPOCH=1795305600
export LC_ALL=C.UTF-8 TZ=UTC PYTHONHASHSEED=0 DEBIAN_FRONTEND=noninteractive
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
LIB=/usr/lib/x86_64-linux-gnu
PYTHON_LIB=/usr/lib/python3/dist-packages
# Fixed order: dpkg's configuration inside the build follows it.
EXCLUDES=(
  '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/info/*' '/usr/share/locale/*'
  '/usr/share/lintian/*' '/usr/share/bug/*' '/usr/include/*' '/usr/lib/libtorch-test/*'
  "$PYTHON_LIB/torch/bin/test_*" "$LIB/*.a" "$LIB/lapack/*" "$LIB/blas/*"
  # Only the ROCm and Level Zero plugins of UCX and hwloc load these.
  "$LIB/libLLVM*" "$LIB/libamd_comgr*" "$LIB/libamdhip64*" "$LIB/libhsa-runtime64*" "$LIB/libze_*"
)

# The base URL of the Debian archive in this host's own apt configuration.
host_mirror() {
  apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
    awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" && !found { found = 1; print $4 }'
}

# Runs on the finished tree: writes the lock, keeps the .debs, removes the rest. It leaves /tmp to
# mmdebstrap, whose apt configuration lies there: without it the clean-up would empty the host's
# own package lists.
finish() {
  local root=$1 out=$2 debs=$3 mirror=$4 name version arch file
  cp -n "$root"/var/cache/apt/archives/*.deb "$debs/"
  dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Package} ${Version} ${Architecture}\n' | sort |
    while read -r name version arch; do
      file="$debs/${name}_${version//:/%3a}_$arch.deb"
      echo "$name $version $arch $(sha256sum <"$file" | cut -d' ' -f1)"
    done >"$out.lock"
  cd "$root"
  rm -rf etc/hostname etc/resolv.conf etc/apt/sources.list.d/* var/cache/* var/lib/apt/lists/* \
    var/log/*
  : >etc/machine-id
  echo "# Built from the Debian archive, suite $SUITE, by images/cpu/build-rootfs.sh." >etc/apt/sources.list
  : >etc/apt/apt.conf.d/99mmdebstrap
  : >etc/dpkg/dpkg.cfg.d/99mmdebstrap
  # Test suites of the Python packages; numpy.testing imports one module of its own.
  ( cd ".$PYTHON_LIB"
    cp -a numpy/_core/tests/_natype.py ../natype
    find . -depth -type d -name tests -not -path './torch/*' -exec rm -rf {} +
    mkdir -p numpy/_core/tests
    mv ../natype numpy/_core/tests/_natype.py
    : >numpy/_core/tests/__init__.py )
  if grep -rlF "$mirror" etc var/lib/apt; then
    echo 'the files above name the mirror: the image would differ between hosts' >&2
    return 1
  fi
}

if [ "${1:-}" = --finish ]; then
  shift
  finish "$@"
  exit
fi

[ $# -eq 2 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2; }
OUT=$(realpath -m "$1") DEBS=$(realpath -m "$2") SELF=$(realpath "$0")
MIRROR=${DEBIAN_MIRROR:-$(host_mirror)}
if [ -z "$MIRROR" ]; then # apt knows its sources only once it has their lists
  apt-get update -qq >&2
  MIRROR=$(host_mirror)
fi
[ -n "$MIRROR" ] || { echo 'no Debian archive in the apt configuration; set DEBIAN_MIRROR' >&2; exit 3; }
MIRROR=${MIRROR%/}
mkdir -p "$DEBS"

options=()
for path in "${EXCLUDES[@]}"; do options+=(--dpkgopt="path-exclude=$path"); done
options+=(--dpkgopt='path-include=/usr/share/doc/*/copyright')
if compgen -G "$DEBS/*.deb" >/dev/null; then
  options+=(--setup-hook="mkdir -p \"\$1/var/cache/apt/archives\" && cp -n '$DEBS'/*.deb \"\$1/var/cache/apt/archives/\"")
fi

echo "deb [signed-by=$KEYRING] $MIRROR $SUITE main" |
  mmdebstrap --mode=root --variant=essential --architectures=amd64 --include="$PACKAGES" \
    --skip=download/empty,essential/unlink,cleanup/apt \
    --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
    --aptopt='Acquire::Retries "3"' "${options[@]}" \
    --customize-hook="'$SELF' --finish \"\$1\" '$OUT' '$DEBS' '$MIRROR'" \
    "$SUITE" "$OUT.partial.tar" -
mv "$OUT.partial.tar" "$OUT"
