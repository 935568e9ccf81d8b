// Package wire holds the rules of RFC 6762 and RFC 6763 against lanfolk on a
// link: the real program, or its engine on real sockets, in a network namespace,
// beside a tester that says what a script tells it. What passes is captured and
// held against package judge. The numbers at the tests are the rows of
// docs/rfc6762.md.
//
// Exact times are judged elsewhere, in virtual time: here the shortest that the
// RFC allows, and generous longest ones, because the machine is noisy.
package wire
