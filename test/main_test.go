package test

import (
	"os"
	"testing"

	"github.com/lanfolk/lanfolk/test/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }
