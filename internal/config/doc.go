// Package config reads lanfolk's configuration: strict TOML into types that
// can't hold a bad value. Every error has file:line:column and the key, and all
// errors of a file are told at once; an unknown key is one of them. No file at
// all is fine: Default says what holds then, and reference.toml documents it.
//
// A section is one file of this package: a struct with `toml` tags for its keys,
// a function that returns its defaults and, where values must fit each other, a
// check method. To add one write that file, add the struct to Config and its defaults to
// Default, and document the keys in reference.toml; a test compares the three.
package config
