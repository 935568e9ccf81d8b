package lantest_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest"
)

func TestMethodsAreThoseOfLanConn(t *testing.T) {
	ours, theirs := reflect.TypeFor[*lantest.Conn](), reflect.TypeFor[*lan.Conn]()
	for i := range theirs.NumMethod() {
		want := theirs.Method(i)
		got, ok := ours.MethodByName(want.Name)
		if !ok {
			t.Errorf("no method %s", want.Name)
			continue
		}
		if g, w := signature(got.Type), signature(want.Type); g != w {
			t.Errorf("%s is %s, want %s", want.Name, g, w)
		}
	}
}

func signature(f reflect.Type) string {
	var s []string
	for i := 1; i < f.NumIn(); i++ {
		s = append(s, f.In(i).String())
	}
	s = append(s, "->")
	for i := range f.NumOut() {
		s = append(s, f.Out(i).String())
	}
	return strings.Join(s, " ")
}
