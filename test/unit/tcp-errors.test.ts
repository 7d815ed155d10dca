/** What is said of connections over tcp that end, or that cannot be made. */
import { expect, test } from "bun:test";
import { constants } from "node:os";
import { TCP_FAILURE, TCP_STAGE } from "../../ffi/tcp/tcp.ts";
import { ConnectionFailed, EnvironmentError } from "../../src/base/errors.ts";
import { connectionFailed, connectionLost } from "../../src/fabric/tcp/connection-errors.ts";

const { ECONNREFUSED, ECONNRESET, EHOSTUNREACH, EMFILE, ENOMEM, EPIPE, ETIMEDOUT } =
  constants.errno;
const state = (failure: number, detail = 0, of = 0) => ({
  ...{ ready: false, inlineBytes: 0 },
  failure,
  detail,
  of,
});

test.each([
  [TCP_FAILURE.closed, 0, "the other side disconnected"],
  // A process that was killed with something unread.
  [TCP_FAILURE.broken, ECONNRESET, "the other side disconnected"],
  [TCP_FAILURE.broken, EPIPE, "the other side disconnected"],
  [TCP_FAILURE.broken, ETIMEDOUT, "the other side does not answer"],
  [TCP_FAILURE.broken, EHOSTUNREACH, "it broke (EHOSTUNREACH)"],
  [TCP_FAILURE.protocol, 0, "the other side sent what no side may"],
])("a connection that ends by failure %i and errno %i says: %s", (failure, errno, says) => {
  const error = connectionLost(3, state(failure, errno));
  expect(error.message).toStartWith(`the connection to worker 3 is lost: ${says}; `);
  expect(error.worker).toBe(3);
});

test.each([
  [EMFILE, "no file descriptors left (EMFILE); raise its limit (ulimit -n)"],
  [ENOMEM, "gets no more memory (ENOMEM); ask for less"],
])("what lacks when connections are made is said as everywhere, for errno %i", (errno, says) => {
  const failed = state(TCP_FAILURE.setup, errno, TCP_STAGE.resources);
  const error = connectionFailed("10.0.0.5:7700", failed, "this program");
  expect(error).toBeInstanceOf(EnvironmentError);
  expect(error.message).toContain("opening sockets for 10.0.0.5:7700 failed: this program ");
  expect(error.message).toContain(says);
});

test("a connection that is refused is none that lacks something", () => {
  const failed = state(TCP_FAILURE.setup, ECONNREFUSED, TCP_STAGE.connect);
  const error = connectionFailed("10.0.0.5:7700", failed, "this program");
  expect(error).toBeInstanceOf(ConnectionFailed);
  expect(error.message).toContain("connecting for 10.0.0.5:7700 failed: ECONNREFUSED; ");
});
