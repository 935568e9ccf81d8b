package config_test

import (
	"errors"
	"os"
	"testing"

	"github.com/lanfolk/lanfolk/internal/config"
)

// FuzzParse: a file gives errors with positions inside of it, or a configuration
// that prints as one that reads as the same.
func FuzzParse(f *testing.F) {
	f.Add(config.Reference())
	for _, file := range badFiles(f) {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse("f", data)
		if err != nil {
			var errs config.Errors
			if !errors.As(err, &errs) || len(errs) == 0 || c != nil {
				t.Fatalf("error %v with %v", err, c)
			}
			for _, e := range errs {
				if e.Line < 1 || e.Column < 1 || e.Line > len(data)+1 || e.Message == "" {
					t.Errorf("error %+v for %d bytes", e, len(data))
				}
			}
			return
		}
		text, err := c.TOML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := config.Parse("again", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		// What is written holds no password.
		shown, _ := c.TGED.ServicesFile.MarshalText()
		if now, _ := again.TGED.ServicesFile.MarshalText(); string(now) == string(shown) {
			again.TGED.ServicesFile = c.TGED.ServicesFile
		}
		if d := diff(c, again); d != "" {
			t.Errorf("reads back as something else:\n%s", d)
		}
	})
}
