// Package directory keeps on the disk what a Syncthing global server knows, so that a restart, a
// kill or a crash doesn't make it forget.
//
//	syncthing.state        a stream of records, as package syncthing draws it: at its end is
//	                       what was announced last
//	syncthing.state.new    the same, while it is written anew without what has been replaced
//	syncthing.lock         locked by the process that uses the folder
//
// A [State] is a syncthing.Server's Journal: twice a second it appends what was announced
// since. What a kill costs is less than a second. The file is synced once a second, too, beside
// what goes on: a power cut costs as much more as the disk takes to sync. Each device is
// written at most twice a second, however often it is announced.
//
// When the file is more than twice as long as it needs to be (and 4 MiB), it is written anew,
// some of it at each call, and then renamed. So it needs up to three times the room of what is
// known: a device with two addresses takes 72 bytes, a million of them 70 MB.
//
// A full disk or a broken one doesn't stop the server: what couldn't be written is
// written once that is possible again. None of it waits in memory but what the server knows anyway.
//
// Not supported: a folder on a network file system that several machines write to.
package directory
