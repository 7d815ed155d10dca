/** Bun.serve, asked through `fetch`, and by a client in C that spins on its socket. */
import { join } from "node:path";
import { type Peer, askInTurn } from "./peer.ts";
import { Child, outputOf } from "./child.ts";

/** In a process of its own. */
export function serveHttp(): number {
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => new Response(await request.bytes()),
  });
  // Undefined is the port of a server at a path.
  return server.port!;
}

export async function openFetch(): Promise<Peer> {
  const server = await Child.serving("http");
  const url = `http://127.0.0.1:${server.port}/`;
  return {
    name: "Bun.serve, fetch",
    window: (bytes, tookNs) =>
      askInTurn(
        async (body) => await (await fetch(url, { method: "POST", body })).bytes(),
        bytes,
        tookNs,
      ),
    [Symbol.asyncDispose]: () => server.end(),
  };
}

/** Requests that do not count, on each connection: the server's code for it is compiled meanwhile. */
const WARMUP = 500;

/** `folder` is where the client is compiled to; `cpu` is its own. */
export async function openSpinning(folder: string, cpu: number): Promise<Peer> {
  const program = join(folder, "spinning-client");
  await outputOf([
    ...["cc", "-O2", "-Wall", "-Werror", "-o", program],
    join(import.meta.dir, "spinning-client.c"),
  ]);
  const server = await Child.serving("http");
  return {
    name: "Bun.serve, a client in C that spins",
    async window(bytes, tookNs) {
      const words = [server.port, bytes, WARMUP, tookNs.length, cpu].map(String);
      const said = await outputOf([program, ...words]);
      tookNs.set(said.trim().split("\n").map(Number));
    },
    [Symbol.asyncDispose]: () => server.end(),
  };
}
