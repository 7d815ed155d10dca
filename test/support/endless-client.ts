/** A client process that calls until something goes wrong; see `test/rdma/endless-client.ts`. */
import { join } from "node:path";
import type { EndlessEnd } from "../rdma/endless-client.ts";
import { ROOT } from "./executable.ts";

export const ENDLESS_CLIENT = join(ROOT, "test", "rdma", "endless-client.ts");

export class EndlessClient {
  /** Resolves to the pid of its lease's host when its calls are answered. */
  readonly calling: Promise<number>;
  /** How its calls have ended. */
  readonly ended: Promise<EndlessEnd>;
  readonly exited: Promise<number>;
  readonly #child: Bun.Subprocess<"ignore", "pipe", "inherit">;

  private constructor(child: Bun.Subprocess<"ignore", "pipe", "inherit">) {
    this.#child = child;
    this.exited = child.exited;
    const calling = Promise.withResolvers<number>();
    const ended = Promise.withResolvers<EndlessEnd>();
    this.calling = calling.promise;
    this.ended = ended.promise;
    for (const promise of [this.calling, this.ended]) promise.catch(() => {});
    void (async () => {
      let text = "";
      for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
        text += part;
        const pid = /^calling (\d+)\n/.exec(text)?.[1];
        if (pid !== undefined) calling.resolve(Number(pid));
      }
      const end = /^\{.*\}$/m.exec(text)?.[0];
      if (end !== undefined) ended.resolve(JSON.parse(end) as EndlessEnd);
      const gone = new Error(`the client ended early:\n${text}`);
      calling.reject(gone);
      ended.reject(gone);
    })();
  }

  static start(node: string, mode: string): EndlessClient {
    return new EndlessClient(
      Bun.spawn([process.execPath, ENDLESS_CLIENT, node, mode], {
        stdio: ["ignore", "pipe", "inherit"],
      }) as Bun.Subprocess<"ignore", "pipe", "inherit">,
    );
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }
}
