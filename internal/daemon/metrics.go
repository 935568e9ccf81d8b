package daemon

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics returns what answers /metrics: what Go and the kernel count of the process, and
// what the daemon's collector reads from its status when somebody asks. So nothing is
// counted twice.
func Metrics(own prometheus.Collector) (http.Handler, error) {
	r := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), own} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{}), nil
}

// Truth is a metric's value for yes and no.
func Truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
