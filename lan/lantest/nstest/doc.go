// Package nstest runs a test in network namespaces of its own, without
// root: the test binary starts itself again in a new user and network
// namespace, where it may make links and hosts as it likes, and nothing reaches
// the machine's real network.
//
//	func TestOverVeth(t *testing.T) {
//		nstest.Run(t, func(t *testing.T) {
//			a, b := nstest.Here(t), nstest.NewHost(t)
//			nstest.Connect(t, a, "eth0", b, "eth0")
//			a.SetUp(t, "eth0", "10.0.0.1/24")
//			b.SetUp(t, "eth0", "10.0.0.2/24")
//			b.Do(t, func() { … what is opened here belongs to host b … })
//		})
//	}
//
// All links are veth pairs: kernels may lack VLAN and dummy links. Linux only.
package nstest
