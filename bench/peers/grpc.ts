/** A stream of gRPC in both directions, by grpc-js. Messages are bytes: no time goes into protocol buffers. */
import { join } from "node:path";
import { type Peer, askInTurn } from "./peer.ts";
import { Child } from "./child.ts";
import type { Installed } from "./installed.ts";

/** What is used of `@grpc/grpc-js`, which is installed when this runs. */
interface Library {
  Server: new () => {
    addService(methods: Methods, handlers: { echo(stream: Stream): void }): void;
    bindAsync(
      address: string,
      credentials: object,
      bound: (failed: Error | null, port: number) => void,
    ): void;
  };
  ServerCredentials: { createInsecure(): object };
  credentials: { createInsecure(): object };
  makeGenericClientConstructor(
    methods: Methods,
    name: string,
  ): new (address: string, credentials: object) => { echo(): Stream; close(): void };
}

interface Stream {
  on(event: "data", listener: (message: Buffer) => void): void;
  on(event: "end", listener: () => void): void;
  on(event: "error", listener: (error: Error) => void): void;
  write(message: Uint8Array): boolean;
  end(): void;
}

type Methods = typeof METHODS;

const asItIs = (bytes: Buffer): Buffer => bytes;
const asBuffer = (bytes: Uint8Array<ArrayBuffer>): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const METHODS = {
  echo: {
    path: "/rfaas.Peers/Echo",
    requestStream: true,
    responseStream: true,
    requestSerialize: asBuffer,
    requestDeserialize: asItIs,
    responseSerialize: asItIs,
    responseDeserialize: asItIs,
  },
};

async function grpcOf(packages: string): Promise<Library> {
  const path = join(packages, "@grpc", "grpc-js");
  // Its types are not here when the tree is checked.
  const { default: library } = (await import(Bun.resolveSync(path, packages))) as {
    default: Library;
  };
  return library;
}

/** In a process of its own. */
export async function serveGrpc(packages: string): Promise<number> {
  const { Server, ServerCredentials } = await grpcOf(packages);
  const server = new Server();
  server.addService(METHODS, {
    echo(stream) {
      stream.on("data", (message) => stream.write(message));
      stream.on("end", () => stream.end());
    },
  });
  return await new Promise((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (failed, port) =>
      failed ? reject(failed) : resolve(port),
    ),
  );
}

export async function openGrpc({ packages }: Installed): Promise<Peer> {
  const server = await Child.serving("grpc", packages);
  const { credentials, makeGenericClientConstructor } = await grpcOf(packages);
  const Client = makeGenericClientConstructor(METHODS, "Peers");
  const client = new Client(`127.0.0.1:${server.port}`, credentials.createInsecure());
  const stream = client.echo();
  let answered = Promise.withResolvers<Buffer>();
  stream.on("data", (message) => answered.resolve(message));
  stream.on("error", (error) => answered.reject(error));
  const ask = (request: Uint8Array): Promise<Buffer> => {
    answered = Promise.withResolvers();
    stream.write(request);
    return answered.promise;
  };
  return {
    name: "gRPC stream, grpc-js",
    window: (bytes, tookNs) => askInTurn(ask, bytes, tookNs),
    async [Symbol.asyncDispose]() {
      answered.promise.catch(() => {});
      stream.end();
      client.close();
      await server.end();
    },
  };
}
