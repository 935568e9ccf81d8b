package nmos_test

import (
	"testing"
	"time"
)

// A studio comes back after a power cut: its best API isn't the first to speak.
func TestFirstOfAnEmptyListIsNotChosenAtOnce(t *testing.T) {
	inPlant(t, func(p *plant) {
		p.client.Unicast = nil
		p.run()
		time.Sleep(10 * time.Second)
		p.want("")
		p.mdns.publish(advert{name: "A", txt: txtOf("v1.0", "20")})
		time.Sleep(900 * time.Millisecond)
		p.want("")
		p.mdns.publish(advert{name: "B", txt: txtOf("v1.0", "10")})
		time.Sleep(4 * time.Second)
		p.want("B")
		// One more finds a list that isn't empty.
		p.mdns.publish(advert{name: "C", txt: txtOf("v1.0", "0")})
		time.Sleep(4 * time.Second)
		p.want("B")
	})
}
