/** How a node's port takes TLS: by the runtime's own socket where a client's first bytes wait when it is accepted, by streams where they come in pieces. */
import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { createSecureContext } from "node:tls";
import { acceptSpoken, peekBytes } from "../../ffi/system.ts";
import { type Listener, type Way, listen } from "../../src/executor/admission/listen.ts";
import { Connection, type WireEvents } from "../../src/control/connection.ts";
import { parseAddress } from "../../src/control/address.ts";
import { dial } from "../../src/control/dial.ts";
import { SecureSocket } from "../../src/control/accept/secure-socket.ts";
import { SecureWire } from "../../src/control/accept/secure-wire.ts";
import { frameOf } from "../../src/protocol/frames/framing.ts";
import {
  type ClientMessage,
  type NodeMessage,
  PROTOCOL_VERSION,
  clientVocabulary,
} from "../../src/protocol/messages.ts";
import { nodeCredentials } from "../support/tls.ts";

let own: Awaited<ReturnType<typeof nodeCredentials>>;
beforeAll(async () => {
  own = await nodeCredentials();
});

/** Of attempts that are as good as each other: the kernel accepts a client that is silent for a second, as on a busy machine. */
const TRIES = 20;

const HELLO: ClientMessage = {
  ...{
    t: "hello",
    protocol: PROTOCOL_VERSION,
    version: "0",
    pid: 1,
    fabrics: [],
    machine: "m",
    token: null,
  },
};
const helloFrame = frameOf(HELLO, clientVocabulary.packing);

const listeners: Listener[] = [];
afterEach(() => {
  for (const listener of listeners.splice(0)) listener.stop();
});

/** A node's port, the ways by which it took TLS, and what its clients said, with how they came. */
async function port() {
  const secureContext = createSecureContext({
    ...{ key: own.key, cert: own.chain, minVersion: "TLSv1.3" },
  });
  const ways: string[] = [];
  let accepted = Promise.withResolvers<void>();
  const heard: { message: ClientMessage; way: Way }[] = [];
  let onHeard = (): void => {};
  const listener = await listen(
    parseAddress("127.0.0.1:0"),
    (way) => {
      accepted.resolve();
      return new Connection<ClientMessage, NodeMessage>(clientVocabulary, {
        message: (message) => {
          heard.push({ message, way });
          onHeard();
        },
        closed: () => {},
      });
    },
    () => false,
    {
      insecure: false,
      accept: (raw, events) => {
        ways.push("wire");
        return new SecureWire(raw, secureContext, events);
      },
      acceptUnread: (raw, events) => {
        ways.push("socket");
        return new SecureSocket(raw, secureContext, events);
      },
    },
  );
  listeners.push(listener);
  const { port } = parseAddress(listener.address) as { port: number };
  return {
    ...{ port, ways, heard },
    /** Resolves when another client has been accepted. */
    nextAccepted: () => (accepted = Promise.withResolvers<void>()).promise,
    untilHeard: async (count: number) => {
      while (heard.length < count) await new Promise<void>((resolve) => (onHeard = resolve));
    },
  };
}

/** A client by TLS says hello. */
async function greet(at: number): Promise<void> {
  let events: WireEvents;
  const opened = new Promise<void>((resolve) => {
    events = {
      opened(wire) {
        wire.write(helloFrame);
        resolve();
      },
      received() {},
      drained() {},
      close() {},
    };
  });
  await dial(parseAddress(`rfaas://127.0.0.1:${at}?key=${own.fingerprint}`), events!).connected;
  await opened;
}

describe("a client by TLS", () => {
  test("whose first bytes wait when it is accepted is taken by the runtime's own socket", async () => {
    const { port: at, ways, heard, untilHeard } = await port();
    for (let tries = 1; tries <= TRIES && !ways.includes("socket"); tries++) {
      await greet(at);
      await untilHeard(tries);
    }
    expect(ways).toContain("socket");
    const { message, way } = heard.at(-1)!;
    expect(message).toEqual(HELLO);
    expect(way.isExposed()).toBe(false);
  });

  test("whose first bytes come one by one is taken by streams", async () => {
    const { port: at, ways, heard, nextAccepted, untilHeard } = await port();
    // Passes the first byte on alone, and the others when the port has looked at it.
    const relay = Bun.listen<{ to: ReturnType<typeof connect>; begun: boolean }>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open(socket) {
          const to = connect({ host: "127.0.0.1", port: at, noDelay: true });
          to.on("data", (bytes) => void socket.write(bytes));
          socket.data = { to, begun: false };
        },
        async data(socket, bytes) {
          const { data } = socket;
          const passes = data.begun ? undefined : nextAccepted();
          data.begun = true;
          data.to.write(bytes.subarray(0, 1));
          await passes;
          data.to.write(bytes.subarray(1));
        },
        close: ({ data: { to } }) => void to.destroy(),
      },
    });
    await greet(relay.port);
    await untilHeard(1);
    relay.stop(true);
    expect(ways).toEqual(["wire"]);
    expect(heard.at(-1)!.message).toEqual(HELLO);
  });

  test("and one in clear is heard as before, from its first byte on", async () => {
    const { port: at, ways, heard, untilHeard } = await port();
    const socket = connect({ host: "127.0.0.1", port: at });
    socket.write(helloFrame);
    await untilHeard(1);
    expect(heard[0]!.message).toEqual(HELLO);
    expect(ways).toEqual([]);
    socket.destroy();
  });
});

test("what is looked at on a socket stays there, and none waits where nothing was said", async () => {
  const seen: { waiting: string; heard: Promise<string> }[] = [];
  let onSeen = (): void => {};
  const sockets = new WeakMap<object, (text: string) => void>();
  const listener = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(socket) {
        const { promise, resolve } = Promise.withResolvers<string>();
        sockets.set(socket, resolve);
        const waiting = Buffer.from(peekBytes((socket as unknown as { fd: number }).fd, 5));
        seen.push({ waiting: waiting.toString(), heard: promise });
        onSeen();
      },
      data: (socket, bytes) => sockets.get(socket)!(bytes.toString()),
    },
  });
  expect(acceptSpoken((listener as unknown as { fd: number }).fd)).toBe(true);
  for (let tries = 1; tries <= TRIES && seen.at(-1)?.waiting !== "a few"; tries++) {
    const socket = connect({ host: "127.0.0.1", port: listener.port });
    socket.write("a few words");
    while (seen.length < tries) await new Promise<void>((resolve) => (onSeen = resolve));
    expect(await seen.at(-1)!.heard).toBe("a few words");
    socket.destroy();
  }
  expect(seen.at(-1)!.waiting).toBe("a few");
  listener.stop(true);
  const silent = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open: (socket) => void socket.end(peekBytes((socket as unknown as { fd: number }).fd, 5)),
      data() {},
    },
  });
  const socket = connect({ host: "127.0.0.1", port: silent.port });
  let said = "";
  socket.on("data", (bytes: Buffer) => void (said += bytes.toString()));
  await new Promise<void>((resolve) => socket.once("end", resolve));
  expect(said).toBe("");
  socket.destroy();
  silent.stop(true);
});
