#!/bin/bash
# Run once by a systemd that was booted for this: what becomes of our unit under it, a line for each question.
export LC_ALL=C
say() { echo "$1: ${*:2}" >> /said; }
show() { systemctl show uplinkd --property "$1" --value; }
# Ours and what everybody has.
rules() { ip rule | wc -l; }

systemd-sysusers && systemd-tmpfiles --create
for i in 1 2; do
	ip netns add isp$i
	ip link add wan$i type veth peer name eth0 netns isp$i
	ip address add 192.0.2.$((16 * i + 1))/28 dev wan$i
	ip link set wan$i up
	ip -n isp$i address add 192.0.2.$((16 * i + 2))/28 dev eth0
	ip -n isp$i link set eth0 up
	ip route add default via 192.0.2.$((16 * i + 2)) metric $i
done
say rules-before "$(rules)"

systemctl start uplinkd
say start $?
say rules-at-start "$(rules)"
say state "$(show ActiveState)"
pid=$(show MainPID)
say user "$(stat -c %U "/proc/$pid")"
say rights "$(awk '/^CapBnd:/ { print $2 }' "/proc/$pid/status")"
uplinkctl status --json > /status.json
say status $?
grep -q isp1 /etc/iproute2/rt_tables.d/uplinkd.conf
say names $?

# A hook, in the same sandbox and with none of the rights.
uplinkctl notify-test > /tested
say told $?
say hook "$(cat /var/lib/uplinkd/hooked)"

systemctl reload uplinkd
say reload $?
cp /etc/uplinkd/uplinkd.toml /kept.toml
echo 'nonsense = 1' >> /etc/uplinkd/uplinkd.toml
systemctl reload uplinkd
sleep 1
say refused "$(show ActiveState)"
say refused-rules "$(rules)"
cp /kept.toml /etc/uplinkd/uplinkd.toml

# A loop that stands still, which the watchdog is there for.
kill -STOP "$pid"
for _ in $(seq 100); do
	[ "$(show NRestarts)" = 0 ] || break
	say hung-rules "$(rules)"
	sleep 0.2
done
for _ in $(seq 100); do
	[ "$(show ActiveState)" = active ] && break
	sleep 0.2
done
say after-watchdog "$(show ActiveState)"
say restarts "$(show NRestarts)"
say another "$([ "$(show MainPID)" != "$pid" ] && echo yes)"

systemctl stop uplinkd
say stop $?
say stopped "$(show ActiveState) $(show Result)"
say rules-after "$(rules)"
journalctl --unit uplinkd --output json > /journal.json
