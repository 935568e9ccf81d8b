#!/usr/bin/env bash
# Installs the Debian packages that the tests need. Without root or apt-get it
# says what is missing and goes on, so that the rest can be tested; under
# LANFOLK_REQUIRE_ALL=1 it fails then.
#
# No service of a package that is installed here is ever started, now or at the
# next boot: an avahi-daemon on the machine's real network would answer there,
# and the tests want their peers inside network namespaces of their own.
set -euo pipefail

wanted=(gcc libc6-dev iproute2 ieee-data avahi-daemon avahi-utils dbus mosquitto dnsmasq isc-dhcp-client kea-dhcp4-server kea-dhcp6-server hostapd wpasupplicant bind9 bind9-dnsutils knot postgresql postgresql-common chromium tcpdump procps python3 python3-grpcio python3-protobuf protobuf-compiler nftables libsystemd-shared)
# These are unpacked and not installed: systemd-resolved would take over the
# machine's own /etc/resolv.conf.
unpacked=(systemd-resolved)
cache=/var/cache/lanfolk-tests
# What these packages would start.
services=(avahi-daemon.service avahi-daemon.socket mosquitto.service dnsmasq.service named.service knot.service postgresql.service kea-dhcp4-server.service kea-dhcp6-server.service hostapd.service wpa_supplicant.service)
policy=/usr/sbin/policy-rc.d

installed() {
  local state
  state=$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) && [ "$state" = installed ]
}

# running lists the commands of the packages that run in this network namespace.
running() {
  local here pid comm
  here=$(readlink /proc/self/ns/net)
  for pid in /proc/[0-9]*; do
    comm=$(cat "$pid/comm" 2>/dev/null) || continue
    case $comm in avahi-daemon | mosquitto | dnsmasq | named | knotd | postgres | kea-dhcp4 | kea-dhcp6 | hostapd | wpa_supplicant)
      if [ "$(readlink "$pid/ns/net" 2>/dev/null)" = "$here" ]; then echo "$comm ${pid#/proc/}"; fi ;;
    esac
  done
}

if ! command -v dpkg-query >/dev/null; then
  echo "packages: this is no Debian; the tests want the commands of: ${wanted[*]}" >&2
  [ "${LANFOLK_REQUIRE_ALL:-}" != 1 ] || exit 1
  exit 0
fi

missing=()
for p in "${wanted[@]}"; do
  installed "$p" || missing+=("$p")
done
unpack=()
for p in "${unpacked[@]}"; do
  installed "$p" || [ -d "$cache/$p" ] || unpack+=("$p")
done
[ $((${#missing[@]} + ${#unpack[@]})) -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "packages: missing, and left out of the tests where they are needed: ${missing[*]} ${unpack[*]}" >&2
  echo "packages: to have them: sudo make packages" >&2
  [ "${LANFOLK_REQUIRE_ALL:-}" != 1 ] || exit 1
  exit 0
fi

exec 9>/run/lock/lanfolk-packages.lock
flock 9

# Deny every start of a service while packages are installed. A policy of the
# machine's own is put back as it was.
before=$(running)
saved=
restore() {
  rm -f "$policy"
  if [ -n "$saved" ]; then mv "$saved" "$policy"; fi
}
denies() {
  local code=0
  [ -x "$policy" ] || return 1
  "$policy" avahi-daemon start >/dev/null 2>&1 </dev/null || code=$?
  [ "$code" -eq 101 ]
}
if ! denies; then
  if [ -e "$policy" ]; then
    saved=$(mktemp "$policy.XXXXXX")
    cp -p "$policy" "$saved"
  fi
  trap restore EXIT
  trap 'exit 130' INT TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy.new"
  chmod 755 "$policy.new"
  mv "$policy.new" "$policy"
fi

# A unit that is masked is not started at boot or through D-Bus either.
for s in "${services[@]}"; do
  case $s in named.service) owner=bind9 ;; postgresql.service) owner=postgresql-common ;; wpa_supplicant.service) owner=wpasupplicant ;; avahi-daemon.*) owner=avahi-daemon ;; *) owner=${s%.service} ;; esac
  if [[ " ${missing[*]} " == *" $owner "* ]] && [ ! -e "/etc/systemd/system/$s" ]; then
    mkdir -p /etc/systemd/system
    ln -s /dev/null "/etc/systemd/system/$s"
    echo "packages: masked $s; systemctl unmask $s makes it usable" >&2
  fi
done

# PostgreSQL would make a database of its own, for its service. Who has PostgreSQL
# already keeps it as it is.
new_postgres() { [[ " ${missing[*]} " == *" postgresql-common "* ]]; }
if new_postgres; then
  mkdir -p /etc/postgresql-common/createcluster.d
  printf '# By the packages script of lanfolk, whose tests make databases of their own.\ncreate_main_cluster = false\n' \
    >/etc/postgresql-common/createcluster.d/lanfolk.conf
fi

# unpack_all unpacks packages into folders of their own, each in one step.
unpack_all() {
  local p tmp
  mkdir -p "$cache"
  for p in "${unpack[@]}"; do
    tmp=$(mktemp -d "$cache/.$p.XXXXXX") || return 1
    if ! (cd "$tmp" && "${apt[@]}" download "$p" && dpkg -x ./*.deb root && mv -T root "$cache/$p"); then
      rm -rf "$tmp"
      return 1
    fi
    rm -rf "$tmp"
  done
}

echo "packages: installing: ${missing[*]:-nothing}; unpacking: ${unpack[*]:-nothing}" >&2
export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
log=$(mktemp)
if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${missing[@]}" && unpack_all; } >"$log" 2>&1 </dev/null; then
  tail -n 40 "$log" >&2
  rm -f "$log"
  echo "packages: apt-get could not install: ${missing[*]} ${unpack[*]}" >&2
  [ "${LANFOLK_REQUIRE_ALL:-}" != 1 ] || exit 1
  exit 0
fi
rm -f "$log"

# What started all the same is stopped, and said.
while read -r comm pid; do
  [ -n "$pid" ] || continue
  case $'\n'$before$'\n' in *$'\n'"$comm $pid"$'\n'*) continue ;; esac
  [ "$comm" != postgres ] || new_postgres || continue # it has a process for each client
  echo "packages: $comm started with its package; stopping it" >&2
  kill "$pid" || true
done <<<"$(running)"
