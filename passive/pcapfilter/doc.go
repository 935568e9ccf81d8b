// Package pcapfilter compiles the filter expressions that people know from
// tcpdump (pcap-filter) to classic BPF, for a kernel or for bpf.VM.
//
//	udp port 53 or 5353
//	host 10.0.0.1 and not tcp port 22
//	arp or icmp6 or (vlan 5 and udp portrange 67-68)
//	ether src 02:00:00:00:00:01 && tcp[tcpflags] & (tcp-syn|tcp-fin) != 0
//
// As there, "and" and "or" bind alike and from the left, "not" binds tighter;
// a value without words before it takes those of the value before; "vlan" moves
// what stands behind it into the tag, so that "udp port 53" alone doesn't look
// into tagged frames.
//
// Known are:
//
//   - ether, ip, ip6, arp, rarp, tcp, udp, sctp, icmp, icmp6, igmp, pim, esp, ah
//     as protocols; ether|ip|ip6 proto N;
//   - host, net (also "net A mask B"), port, portrange with src, dst, "src or
//     dst" and "src and dst"; ether host;
//   - broadcast, multicast, ip multicast, ip6 multicast, vlan [N], less N,
//     greater N;
//   - arithmetic: + - * / % & | ^ << >> over numbers, len and bytes of packets
//     such as ip[2:2], with = == != < <= > >=;
//   - and, or, not, also as && || !, and parentheses.
//
// Not supported: host and network names, ip broadcast (it needs the link's
// mask), gateway, inbound, outbound, mpls, pppoe, geneve, 802.11 and ATM words.
package pcapfilter
