/** NATS request and reply by nats.js: client and responder are two connections to a server between them. */
import { join } from "node:path";
import { type Ask, type Peer, askInTurn } from "./peer.ts";
import { Child } from "./child.ts";
import type { Installed } from "./installed.ts";

/** What is used of `@nats-io/transport-node`, which is installed when this runs. */
interface Library {
  connect(options: { servers: string }): Promise<Connection>;
}

interface Connection {
  subscribe(subject: string, options: { callback(failed: unknown, message: Message): void }): void;
  flush(): Promise<void>;
  request(subject: string, data: Uint8Array, options: { timeout: number }): Promise<Message>;
  close(): Promise<void>;
}

interface Message {
  readonly data: Uint8Array;
  respond(data: Uint8Array): boolean;
}

const SUBJECT = "echo";
const TIMEOUT_MS = 10_000;

async function connectTo(packages: string, port: number): Promise<Connection> {
  const path = join(packages, "@nats-io", "transport-node");
  // Its types are not here when the tree is checked.
  const { connect } = (await import(Bun.resolveSync(path, packages))) as Library;
  return await connect({ servers: `127.0.0.1:${port}` });
}

/** In a process of its own. */
export async function respondOverNats(packages: string, port: number): Promise<number> {
  const connection = await connectTo(packages, port);
  connection.subscribe(SUBJECT, { callback: (_, message) => message.respond(message.data) });
  await connection.flush();
  return port;
}

export async function openNats({ packages, natsServer }: Installed): Promise<Peer> {
  if (natsServer === undefined) throw new Error("there is no nats-server");
  const server = await Child.start([natsServer, "-a", "127.0.0.1", "-p", "-1"], {
    readyAt: /client connections on 127\.0\.0\.1:(\d+)/,
  });
  const responder = await Child.serving("nats", packages, server.port);
  const connection = await connectTo(packages, server.port);
  const ask: Ask = async (request) =>
    (await connection.request(SUBJECT, request, { timeout: TIMEOUT_MS })).data;
  return {
    name: "NATS request and reply, nats.js",
    window: (bytes, tookNs) => askInTurn(ask, bytes, tookNs),
    async [Symbol.asyncDispose]() {
      await connection.close();
      await responder.end();
      await server.end();
    },
  };
}
