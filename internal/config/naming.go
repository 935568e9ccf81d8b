package config

// LearntName is what the file with learnt devices in the state folder is called.
const LearntName = "learnt.toml"

// Naming is the section [naming]: what devices are taken to be.
type Naming struct {
	// Rules is a file with rules of your own, or a folder, of which all files that end
	// in .toml are read; "" for none. They go before the built-in ones.
	Rules string `toml:"rules"`
	// Learnt is the file with devices that you labelled; "" for LearntName in the
	// state folder, which needn't be there.
	Learnt string `toml:"learnt"`
}

func (n Naming) check(bad func(key string, err error)) {
	bad("rules", absolute(n.Rules))
	bad("learnt", absolute(n.Learnt))
}
