// Package sim lets a whole link live for an hour of virtual time: 50 hosts that
// publish, browse, come, go, crash, move and quarrel about names, on a wire that
// loses packets. What was sent is held against package judge, and at the end
// every browser must agree with the truth.
//
// Ordinary tests have a few minutes of it, `make soak` the hour, and
// LANFOLK_SIM_SPAN says another time, such as 20m. LANFOLK_SIM_SEED repeats the
// events of a run; what the engines themselves leave to chance still differs.
package sim
