#!/busybox sh
# The guest's first process, twice: in the initramfs it builds the real root, a tmpfs with the host's /usr in it; as /.guest/init
# there it gives the machine its network and its RDMA device, and runs the agent, at the same time because both are slow.
set -e

# An overlay over the host's tree would be simpler, but 9p invalidates its entries and with them whatever is mounted on top.
build_root() {
	/busybox mkdir -p /bb /proc /new
	/busybox --install -s /bb
	PATH=/bb
	mount -t proc proc /proc
	for module in /modules/base/*; do insmod "$module"; done

	mount -t tmpfs -o mode=755 tmpfs /new
	cd /new
	mkdir -p .guest host usr proc sys dev etc root run tmp var/tmp
	chmod 1777 tmp var/tmp
	mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host host
	mount --bind host/usr usr
	for name in bin sbin lib lib64; do ln -s "usr/$name" "$name"; done
	for name in passwd group hosts nsswitch.conf protocols services ld.so.cache alternatives libibverbs.d; do
		if [ -e "host/etc/$name" ]; then cp -a "host/etc/$name" etc/; fi
	done
	. /settings
	mkdir -p ".$ROOT"
	mount --bind "host$ROOT" ".$ROOT"
	umount -l host
	rmdir host

	mount --move /proc proc
	mount -t sysfs sysfs sys
	mount -t devtmpfs devtmpfs dev
	mkdir -p dev/pts dev/shm
	mount -t devpts -o mode=620,ptmxmode=666 devpts dev/pts
	mount -t tmpfs -o mode=1777 tmpfs dev/shm

	cp -a /busybox /init /settings /modules .guest/
	exec switch_root /new /.guest/busybox sh /.guest/init
}

configure() {
	ip link set lo up
	for module in /.guest/modules/network/*; do insmod "$module"; done
	ip link set eth0 up
	ip addr add "10.77.0.$NUMBER/24" dev eth0
	/sbin/ip addr add "fd77::$NUMBER/64" dev eth0 nodad
	rdma link add rxe0 type rxe netdev eth0
	chmod 666 /dev/infiniband/*
}

run_agent() {
	PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/.guest/bb
	# Without a time zone ICU looks for one in every file of /usr/share/zoneinfo.
	export PATH TZ=UTC HOME=/root TMPDIR=/tmp LANG=C.UTF-8 BUN_RUNTIME_TRANSPILER_CACHE_PATH=0
	/.guest/busybox mkdir /.guest/bb
	/.guest/busybox --install -s /.guest/bb
	. /.guest/settings
	for word in $(cat /proc/cmdline); do
		case $word in
		guest.name=*) hostname "${word#*=}" ;;
		guest.number=*) NUMBER=${word#*=} ;;
		esac
	done
	# Debian's kernel keeps this from users; here it is a room's to forbid.
	echo 2 >/proc/sys/kernel/perf_event_paranoid
	ulimit -l unlimited
	ulimit -n 65536
	# The agent reads from here how it went, and only then says that it is ready.
	mkfifo /.guest/configured
	(
		trap 'echo $? >/.guest/configured' EXIT
		configure
	) &
	cd "$ROOT"
	node_modules/.bin/bun test/softroce/agent.ts || echo "the agent ended with $?"
	poweroff -f
}

if [ -e /.guest/init ]; then run_agent; else build_root; fi
