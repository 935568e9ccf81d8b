package reflector_test

import (
	"testing"

	"github.com/lanfolk/lanfolk/dnswire"
)

func TestPassesPacketsOnToTheOtherLinksOfTheSameFamily(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.attach("c", "10.0.3.1/24")
		r.run()
		r.a.say("10.0.1.5:5353", response(addr("nas.local", "10.0.1.5", 120)))
		r.want(r.a)
		r.want(r.b, "10.0.2.1:5353 > 224.0.0.251:5353 nas.local A 10.0.1.5 120 flush")
		r.want(c, "10.0.3.1:5353 > 224.0.0.251:5353 nas.local A 10.0.1.5 120 flush")
		r.b.say("[fe80::5]:5353", query(question{"_ipp._tcp.local", dnswire.TypePTR, false}))
		r.want(r.a, "[fe80::a1]:5353 > [ff02::fb]:5353 _ipp._tcp.local PTR?")
		r.want(r.b)
		r.want(c)
	})
}
