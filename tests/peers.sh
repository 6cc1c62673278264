#!/usr/bin/env bash
# The engines Sampan is compared with, unpacked from Debian's packages into .work/peers: nothing is installed or started.
#
#   docker-20.10/  dockerd, containerd and CLI of Debian 12
#   docker-26.1/   the same of Debian 13; left out, and said so, where it cannot be had
#   syslog/        rsyslogd of Debian 12, to which containers' output is sent
#   compose-2.26/  docker-compose of Debian 13
#   buildx-0.13/   the docker CLI's build plugin of Debian 13
#   erofs-1.8/     fsck.erofs of Debian 13 with its own libc: Debian 12's knows only blocks of one page
#   tools/         what both need, of Debian 12: runc (Debian 13's wants a newer libc), iptables, pigz, docker-registry
#
# Run again it does nothing. Source and keyring come from the host's own apt; its lists and state are not touched.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

PEERS=$PWD/.work/peers
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
DEBIAN_12=(docker.io containerd)
DEBIAN_13=(docker.io docker-cli containerd)
BUILDX=(docker-buildx)
EROFS=(erofs-utils libc6 libdeflate0 liblz4-1 liblzma5 libselinux1 libpcre2-8-0 libuuid1 libxxhash0 libzstd1 zlib1g
  libfuse2t64 libgcc-s1)
SYSLOG=(rsyslog libestr0 libfastjson4 liblognorm5)
TOOLS=(runc libseccomp2 tini libdevmapper1.02.1 pigz docker-registry
  iptables libip4tc2 libip6tc2 libxtables12 libnftnl11 libmnl0 libnetfilter-conntrack3 libnfnetlink0)

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }

mirror() {
  apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian //p' | head -n 1
}

# apt_of SUITE ARGUMENT... : apt-get with one source and a state of its own
apt_of() {
  local suite=$1 state=$PEERS/apt-$1
  shift
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/none"
  : >"$state/status"
  printf 'deb [signed-by=%s] %s %s main\n' "$KEYRING" "$MIRROR" "$suite" >"$state/sources.list"
  apt-get -qq -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts="$state/none" -o Dir::State::lists="$state/lists" \
    -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" -o Dir::Etc::preferences=/dev/null \
    -o Dir::Etc::preferencesparts="$state/none" -o APT::Sandbox::User=root "$@"
}

# unpack SUITE FOLDER PACKAGE... : packages of a suite, unpacked into one folder, whole or not at all
unpack() {
  local suite=$1 target=$PEERS/$2 half=$PEERS/$2.half package
  shift 2
  [ ! -e "$target/.packages" ] || [ "$(cat "$target/.packages")" != "$*" ] || return 0
  say "unpacking $* of $suite into ${target#"$PWD"/}"
  rm -rf "$half" "$target"
  mkdir -p "$half/archives"
  [ -n "$(find "$PEERS/apt-$suite/lists" -maxdepth 1 -name '*Packages*' 2>/dev/null)" ] || apt_of "$suite" update || return 1
  (cd "$half/archives" && apt_of "$suite" download "$@") || return 1
  for package in "$half"/archives/*.deb; do
    dpkg -x "$package" "$half" || return 1
  done
  rm -r "$half/archives"
  echo "$*" >"$half/.packages"
  mv "$half" "$target"
}

mkdir -p "$PEERS"
MIRROR=$(mirror)
[ -n "$MIRROR" ] || { echo "peers.sh: apt has no source of Debian packages here" >&2; exit 1; }
unpack bookworm docker-20.10 "${DEBIAN_12[@]}"
unpack bookworm tools "${TOOLS[@]}"
unpack bookworm syslog "${SYSLOG[@]}" || say "rsyslogd cannot be had here; its test is left out"
# Debian chooses iptables' variant by a link outside the package.
mkdir -p "$PEERS/tools/bin"
for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
  ln -sf ../usr/sbin/xtables-nft-multi "$PEERS/tools/bin/$name"
done
ln -sf ../usr/bin/tini-static "$PEERS/tools/bin/docker-init"
unpack trixie docker-26.1 "${DEBIAN_13[@]}" ||
  say "dockerd 26.1 of Debian 13 cannot be had here; comparisons go on with 20.10 alone"
unpack trixie compose-2.26 docker-compose || say "docker-compose of Debian 13 cannot be had here; its test is left out"
unpack trixie buildx-0.13 "${BUILDX[@]}" || say "buildx of Debian 13 cannot be had here; its tests are left out"
unpack trixie erofs-1.8 "${EROFS[@]}" || say "fsck.erofs of Debian 13 cannot be had here; its test is left out"
rm -rf "$PEERS"/*.half
