/** The node of a client that names none: a child process on this machine, for this client alone, gone when the client is. */
import { NodeUnreachable } from "../errors.ts";
import { childEnvironment, selfCommand } from "../process.ts";
import { NodeConnection } from "./node-connection.ts";

export interface EmbeddedNodeOptions {
  /** Cores to lease; default: those this process may use. */
  cores?: number;
  memoryBytes?: number;
  /** Host processes kept ready; default 1. */
  prewarm?: number;
}

export interface EmbeddedNode {
  connection: NodeConnection;
  /** Ends the node and waits for its process. */
  close(): Promise<void>;
}

/** Starts a private node. Throws {@link NodeUnreachable} when it does not come up. */
export async function startEmbeddedNode(options: EmbeddedNodeOptions): Promise<EmbeddedNode> {
  const args = ["__node", "--parent", String(process.pid)];
  if (options.cores !== undefined) args.push("--cores", String(options.cores));
  if (options.memoryBytes !== undefined) args.push("--memory", String(options.memoryBytes));
  if (options.prewarm !== undefined) args.push("--prewarm", String(options.prewarm));

  const ended = Promise.withResolvers<never>();
  ended.promise.catch(() => {});
  let child: Bun.Subprocess;
  try {
    child = Bun.spawn(selfCommand(args), {
      stdio: ["ignore", 2, 2, "pipe"],
      env: childEnvironment(),
      onExit: (_, exitCode, signal) =>
        ended.reject(
          new NodeUnreachable(
            "private",
            `the private node ended (${signal ?? `exit code ${exitCode}`}); its messages are above`,
          ),
        ),
    });
  } catch (cause) {
    throw new NodeUnreachable(
      "private",
      `a private node cannot be started (${(cause as Error).message}); check RFAAS_EXECUTABLE and the limit on open files`,
      { cause },
    );
  }
  child.unref();
  const connection = await NodeConnection.adopt(child.stdio[3] as unknown as number, ended.promise);
  return {
    connection,
    async close() {
      await connection.close();
      child.ref();
      await child.exited;
    },
  };
}
