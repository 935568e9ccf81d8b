package nmos

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Version is an API's version, v1.3. Versions compare as numbers, part by
// part: v1.12 is later than v1.5 (IS-06 v1.0.1, APIs).
type Version struct{ Major, Minor uint16 }

// ParseVersion reads a version as NMOS writes it: "v", a number, a dot, a number.
func ParseVersion(s string) (Version, error) {
	major, minor, ok := strings.Cut(strings.TrimPrefix(s, "v"), ".")
	a, errA := number(major)
	b, errB := number(minor)
	if !ok || !strings.HasPrefix(s, "v") || errA != nil || errB != nil {
		return Version{}, fmt.Errorf("nmos: version %q: want a form like v1.3", s)
	}
	return Version{a, b}, nil
}

// number reads ASCII digits only: no sign, no space, no digits of other scripts.
func number(s string) (uint16, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err
}

// String returns the version as NMOS writes it: "v1.3".
func (v Version) String() string { return fmt.Sprintf("v%d.%d", v.Major, v.Minor) }

// Compare returns -1, 0 or 1 as v is before, the same as or after w.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor))
}

// ParseVersions reads the value of api_ver: a list with commas. It should be
// ascending and without spaces; neither is insisted on. What is no version is
// left out. The list comes back ascending, each version once.
func ParseVersions(s string) []Version {
	var out []Version
	for item := range strings.SplitSeq(s, ",") {
		if v, err := ParseVersion(strings.Trim(item, " \t")); err == nil {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, Version.Compare)
	return slices.Compact(out)
}

// FormatVersions writes the value of api_ver: ascending, commas, no spaces.
func FormatVersions(versions []Version) string {
	sorted := slices.Clone(versions)
	slices.SortFunc(sorted, Version.Compare)
	var text []string
	for _, v := range slices.Compact(sorted) {
		text = append(text, v.String())
	}
	return strings.Join(text, ",")
}

// common returns the latest version that is in both lists.
func common(a, b []Version) (best Version, ok bool) {
	for _, v := range a {
		if slices.Contains(b, v) && (!ok || v.Compare(best) > 0) {
			best, ok = v, true
		}
	}
	return best, ok
}
