package fleet

import (
	"flag"
	"os"
	"testing"

	"github.com/lanfolk/lanfolk/test/lab"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait for most of their time: many fit on few processors.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(lab.Main(m))
}

// soaking says whether the long forms are wanted.
func soaking() bool { return os.Getenv("LANFOLK_SOAK") != "" }
