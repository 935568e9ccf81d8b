package nmos

// ParseLocation returns the selection that a configured URL of an API makes, or
// why it is none: "http://host:port", with a protocol that its kind has.
func ParseLocation(k Kind, location string) (Selection, error) {
	s, err := configured(k, location)
	if err != nil {
		return Selection{}, err
	}
	return *s, nil
}
