/** A process that answers: `bun server.ts nats PACKAGES PORT | grpc PACKAGES | http`. Says its port, and ends with its input. */
import type { Served } from "./child.ts";
import { serveGrpc } from "./grpc.ts";
import { serveHttp } from "./http.ts";
import { respondOverNats } from "./nats.ts";

const SERVE: Record<Served, (packages: string, port: number) => number | Promise<number>> = {
  nats: respondOverNats,
  grpc: serveGrpc,
  http: serveHttp,
};

const [kind, packages = "", port = "0"] = process.argv.slice(2);
const serve = SERVE[kind as Served];
process.stdout.write(`port ${await serve(packages, Number(port))}\n`);
for await (const _ of process.stdin);
process.exit(0);
