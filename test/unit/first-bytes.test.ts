/** TLS and plain messages come to one port. */
import { describe, expect, test } from "bun:test";
import { connect } from "node:tls";
import fc from "fast-check";
import { beginsTls } from "../../src/control/accept/first-bytes.ts";
import { sortArrival } from "../../src/executor/admission/greetings.ts";
import { tcp } from "../../src/fabric/tcp/fabric.ts";
import { encodeFrame } from "../../src/protocol/frame.ts";

async function clientHello(): Promise<Uint8Array> {
  const first = Promise.withResolvers<Uint8Array>();
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { data: (_, bytes) => first.resolve(Uint8Array.from(bytes)) },
  });
  const client = connect({ host: "127.0.0.1", port: server.port });
  client.on("error", () => {});
  const bytes = await first.promise;
  client.destroy();
  server.stop(true);
  return bytes;
}

describe("what begins", () => {
  test("as a TLS client does is TLS, as soon as three bytes have come", async () => {
    const hello = await clientHello();
    const kinds = [0, 1, 2, 3, hello.length].map((length) => beginsTls(hello.subarray(0, length)));
    expect(kinds).toEqual([undefined, undefined, undefined, true, true]);
    expect(sortArrival(hello, [tcp.greeting!])).toEqual({ kind: "tls" });
  });

  test("with a message is none, however long it is", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 60_000 }), (length) => {
        const frame = encodeFrame({ t: "hello", token: "x".repeat(length) });
        expect(beginsTls(frame)).toBe(false);
        expect(sortArrival(frame, [tcp.greeting!])).toEqual({ kind: "control" });
      }),
    );
    // The lengths whose first bytes are those of TLS.
    for (const length of [0x16, 0x316, 0x416, 0x1603]) {
      const around = encodeFrame({ t: "hello", token: "" }).length - 4;
      const frame = encodeFrame({ t: "hello", token: "x".repeat(Math.max(0, length - around)) });
      expect(beginsTls(frame)).toBe(false);
    }
  });

  test("with the greeting of data is data", () => {
    const { greeting } = tcp;
    const whole = Buffer.alloc(greeting!.bytes);
    whole.set(greeting!.begins);
    expect(sortArrival(whole.subarray(0, 1), [greeting!]).kind).toBe("unknown");
    expect(sortArrival(whole, [greeting!]).kind).toBe("data");
  });
});
