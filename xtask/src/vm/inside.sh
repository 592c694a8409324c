#!/bin/sh
# The first process of the virtual machine. It stands in for the one of virtme-ng, which waits for
# udev: a minute or two where the processor is emulated, for devices that nobody here needs.
#
# The machine's root is this machine's, read-only, by 9p without a cache. The same tree comes a
# second time with one, and with a layer in memory on top: everything may be written, nothing is.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

first() {
    mount -t proc proc /proc
    mount -t tmpfs -o mode=755 run /run
    mkdir /run/lower /run/over /run/over/up /run/over/work /run/root
    nine=trans=virtio,version=9p2000.L,access=any,msize=500000
    mount -t 9p -o "$nine,cache=loose,ro" virtme.initmount1 /run/lower
    layers=lowerdir=/run/lower,upperdir=/run/over/up,workdir=/run/over/work
    mount -t overlay -o "xino=off,$layers" over /run/root
    cd /run/root || exit
    mount -t proc proc proc
    mount -t sysfs sys sys
    mount -t devtmpfs dev dev
    # What a daemon of the machine itself may have left is no part of a fresh system.
    rm -f etc/iproute2/rt_tables.d/uplinkd.conf
    mkdir -p dev/pts dev/shm lib/modules
    mount -t devpts -o ptmxmode=666 pts dev/pts
    mount -t tmpfs -o mode=1777 shm dev/shm
    ln -s /proc/self/fd dev/fd
    ln -s /proc/self/fd/0 dev/stdin
    ln -s /proc/self/fd/1 dev/stdout
    ln -s /proc/self/fd/2 dev/stderr
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs modules lib/modules
    mkdir "lib/modules/$(uname -r)"
    mount --bind "/run/lower@MODULES@" "lib/modules/$(uname -r)"
    # Not below /run or /tmp, which programs in the laboratory see afresh.
    mkdir -p opt/vm/bin opt/vm/share
    mount --bind "/run/lower@BIN@" opt/vm/bin
    mount -t 9p -o "$nine" virtme.initmount0 opt/vm/share
    mount -t tmpfs -o mode=755 run run
    mount -t tmpfs -o mode=1777 tmp tmp
    mkdir run/old
    pivot_root . run/old
    exec chroot . /bin/sh /opt/vm/share/inside.sh second </dev/console >/dev/console 2>&1
}

second() {
    umount -l /run/old
    ip link set lo up
    # What the first use of each would load one by one, while a program waits for its answer.
    for module in nf_tables nf_conntrack_netlink nft_ct nft_nat nft_masq nft_redir nft_fib_inet \
        nft_reject_inet nft_numgen nft_compat veth bridge tun; do
        modprobe -q "$module"
    done
    cd /tmp || exit
    cut -d ' ' -f 1 /proc/uptime >/opt/vm/share/booted
    sh /opt/vm/share/work.sh >/opt/vm/share/output 2>&1
    sync
    poweroff -f 2>/dev/null
    echo o >/proc/sysrq-trigger
    sleep 60
}

"${1:-first}"
