package config

// Vendors is the section [vendors]: who made a device, by its MAC.
type Vendors struct {
	// File is a list of your own, which goes before the built-in one; "" for none.
	File string `toml:"file"`
}

func (v Vendors) check(bad func(key string, err error)) { bad("file", absolute(v.File)) }
