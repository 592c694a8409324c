// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Watches the TCP segments that leave and enter by an uplink: how many are sent again, whether anything
// is acknowledged, and how long that takes. It changes nothing and keeps no packet: both programs
// always let the next one have its say.
//
// `cargo xtask bpf` compiles it; the object lies beside it, so that nobody else needs a compiler.
// Only what a header of the kernel promises to programs for ever is used, so that one object fits all.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>

typedef __u32 be32;
typedef __u16 be16;

#define NET(x) __builtin_bswap16(x)
#define SEC(name) __attribute__((section(name), used))
// So that addresses are copied by words.
#define ALIGNED __attribute__((aligned(8)))
#define INLINE static inline __attribute__((always_inline))

// In `enum tcx_action_base` of newer headers.
#define TCX_NEXT (-1)

static void *(*const lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const update)(void *map, const void *key, const void *value, __u64 flags) =
	(void *)BPF_FUNC_map_update_elem;
static __u64 (*const now_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;
// Counts from the network header, which is set at both hooks, so that devices with and without a
// link header are read alike.
static long (*const load)(const void *skb, __u32 offset, void *to, __u32 length, __u32 from) =
	(void *)BPF_FUNC_skb_load_bytes_relative;

// The older form of a map's definition, which needs no type information beside it.
struct map {
	__u32 type, key_size, value_size, max_entries, flags;
};

// A connection as the uplink's far side sees it, after address translation.
struct key {
	be32 local[4], remote[4]; // IPv4 as ::ffff:a.b.c.d
	be16 local_port, remote_port;
	__u32 device;
};

struct flow {
	__u64 sent_at; // when the segment left that is timed
	__u32 high;    // the first sequence number that was never sent
	__u32 acked;   // the first one that was never acknowledged
	__u32 timed;   // the acknowledgement that ends the timing
	__u32 stamp;   // the TSval of the segment that is timed
	__u8 is_timed, has_stamp, unused[6];
};

#define PEERS 16

// As `Counts` in the reader. They only grow, so that nobody has to reset them.
struct counts {
	__u64 sent;         // segments with anything to acknowledge
	__u64 acked;        // segments that acknowledged something new
	__u64 rtt_ns, rtts; // the sum of round-trip times, and how many
	// Segments sent again, by whom they are for: two different numbers are two flows for certain.
	__u64 again[PEERS];
};

// The least recently used flow makes way for a new one: about a megabyte in all, however many there
// are. One that was forgotten is a new one with its next segment, and loses one retransmission at most.
struct map SEC("maps") flows = {
	BPF_MAP_TYPE_LRU_HASH, sizeof(struct key), sizeof(struct flow), 8192, 0,
};

// By interface and family. The reader makes the entries; without one nothing is counted.
struct map SEC("maps") counted = {
	BPF_MAP_TYPE_PERCPU_HASH, sizeof(__u64), sizeof(struct counts), 512, 0,
};

struct segment {
	struct key key;
	__u64 line;
	__u32 seq, ack, space; // `space`: sequence numbers that it takes
	__u32 sent_stamp, echoed_stamp;
	__u8 is_syn, is_ack, is_rst, has_stamps;
};

struct tcp {
	be16 source, dest;
	be32 seq, ack;
	__u8 offset, flags;
	be16 window, check, urgent;
};

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

// The one layout of the time stamps that practically all senders use (RFC 7323, appendix A): two
// bytes of nothing, then the option. Others are timed by their sequence numbers.
#define STAMPS 0x0101080a

enum way { OUT, IN };

INLINE int read_segment(struct __sk_buff *skb, struct segment *s, enum way way)
{
	be32 *from = way == OUT ? s->key.local : s->key.remote;
	be32 *to = way == OUT ? s->key.remote : s->key.local;
	__u32 at, length;

	// A tagged frame belongs to the tag's own interface.
	if (skb->vlan_present)
		return 0;
	if (skb->protocol == NET(ETH_P_IP)) {
		__u8 ip[20] ALIGNED;

		if (load(skb, 0, ip, sizeof(ip), BPF_HDR_START_NET) || ip[9] != IPPROTO_TCP)
			return 0;
		// Only the first fragment has a TCP header, and its length would be another one.
		if ((ip[6] & 0x3f) || ip[7])
			return 0;
		at = (ip[0] & 15) * 4;
		length = (__u32)ip[2] << 8 | ip[3];
		from[3] = *(be32 *)(ip + 12);
		to[3] = *(be32 *)(ip + 16);
		from[2] = to[2] = __builtin_bswap32(0xffff);
		s->line = (__u64)skb->ifindex << 1;
	} else if (skb->protocol == NET(ETH_P_IPV6)) {
		__u8 ip[40] ALIGNED;

		// Extension headers are so rare before TCP that they are let go.
		if (load(skb, 0, ip, sizeof(ip), BPF_HDR_START_NET) || ip[6] != IPPROTO_TCP)
			return 0;
		at = sizeof(ip);
		length = sizeof(ip) + ((__u32)ip[4] << 8 | ip[5]);
		__builtin_memcpy((void *)from, __builtin_assume_aligned(ip + 8, 8), 16);
		__builtin_memcpy((void *)to, __builtin_assume_aligned(ip + 24, 8), 16);
		s->line = (__u64)skb->ifindex << 1 | 1;
	} else {
		return 0;
	}

	struct tcp tcp;
	if (load(skb, at, &tcp, sizeof(tcp), BPF_HDR_START_NET))
		return 0;
	__u32 header = (tcp.offset >> 4) * 4;
	if (header < sizeof(tcp) || length < at + header)
		return 0;
	s->key.local_port = way == OUT ? tcp.source : tcp.dest;
	s->key.remote_port = way == OUT ? tcp.dest : tcp.source;
	s->key.device = skb->ifindex;
	s->seq = __builtin_bswap32(tcp.seq);
	s->ack = __builtin_bswap32(tcp.ack);
	s->is_syn = !!(tcp.flags & SYN);
	s->is_ack = !!(tcp.flags & ACK);
	s->is_rst = !!(tcp.flags & RST);
	s->space = length - at - header + s->is_syn + !!(tcp.flags & FIN);

	be32 option[3];
	if (header >= sizeof(tcp) + sizeof(option) &&
	    !load(skb, at + sizeof(tcp), option, sizeof(option), BPF_HDR_START_NET) &&
	    option[0] == __builtin_bswap32(STAMPS)) {
		s->has_stamps = 1;
		s->sent_stamp = __builtin_bswap32(option[1]);
		s->echoed_stamp = __builtin_bswap32(option[2]);
	}
	return 1;
}

INLINE __s32 after(__u32 a, __u32 b)
{
	return (__s32)(a - b);
}

// Connections that were never answered count once for each host, since that host may not exist. Those
// that were count each by itself.
INLINE __u32 peer(const struct segment *s)
{
	const be32 *r = s->key.remote;
	__u32 mixed = r[0] ^ r[1] ^ r[2] ^ r[3];

	if (!s->is_syn)
		mixed ^= (__u32)s->key.local_port << 16 | s->key.remote_port;
	return (mixed * 0x9e3779b1) >> 28;
}

INLINE void time_it(struct flow *flow, const struct segment *s)
{
	flow->sent_at = now_ns();
	flow->timed = s->seq + s->space;
	flow->stamp = s->sent_stamp;
	flow->has_stamp = s->has_stamps;
	flow->is_timed = 1;
}

SEC("classifier") int leaves(struct __sk_buff *skb)
{
	struct segment s = {};

	if (!read_segment(skb, &s, OUT) || !s.space || s.is_rst)
		return TCX_NEXT;
	struct counts *counts = lookup(&counted, &s.line);
	if (!counts)
		return TCX_NEXT;
	// What the stack hands over as one may leave as many.
	counts->sent += skb->gso_segs ? skb->gso_segs : 1;

	struct flow *flow = lookup(&flows, &s.key);
	__u32 end = s.seq + s.space;
	__s32 ahead = flow ? after(s.seq, flow->high) : 0;
	// A connection with the numbers of an earlier one, or one that was out of sight for long.
	int is_new = !flow || (s.is_syn && flow->high != end) || ahead > 1 << 30 || ahead < -(1 << 30);
	if (is_new) {
		struct flow first = { .high = end, .acked = s.seq };

		time_it(&first, &s);
		update(&flows, &s.key, &first, BPF_ANY);
		return TCX_NEXT;
	}
	if (ahead >= 0) {
		flow->high = end;
		if (!flow->is_timed)
			time_it(flow, &s);
		return TCX_NEXT;
	}
	// Nobody misses what was acknowledged: a keep-alive does that.
	if (after(end, flow->acked) <= 0)
		return TCX_NEXT;
	counts->again[peer(&s) & (PEERS - 1)]++;
	if (after(end, flow->high) > 0)
		flow->high = end;
	// Without a stamp nobody knows which of the two is acknowledged (Karn).
	if (s.has_stamps)
		time_it(flow, &s);
	else
		flow->is_timed = 0;
	return TCX_NEXT;
}

SEC("classifier") int enters(struct __sk_buff *skb)
{
	struct segment s = {};

	if (!read_segment(skb, &s, IN) || !s.is_ack)
		return TCX_NEXT;
	struct flow *flow = lookup(&flows, &s.key);
	if (!flow || after(s.ack, flow->acked) <= 0 || after(s.ack, flow->high) > 0)
		return TCX_NEXT;
	flow->acked = s.ack;
	struct counts *counts = lookup(&counted, &s.line);
	if (!counts)
		return TCX_NEXT;
	counts->acked++;
	if (!flow->is_timed || after(s.ack, flow->timed) < 0)
		return TCX_NEXT;
	flow->is_timed = 0;
	// The echo tells the first sending of a segment from the second.
	if (flow->has_stamp && !(s.has_stamps && after(s.echoed_stamp, flow->stamp) >= 0))
		return TCX_NEXT;
	counts->rtt_ns += now_ns() - flow->sent_at;
	counts->rtts++;
	return TCX_NEXT;
}

// Every helper that is used may be used by programs of any licence.
char licence[] SEC("license") = "MIT OR Apache-2.0";
