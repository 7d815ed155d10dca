/** A node's cache of packages, for a program that looks after it. */
import { UsageError } from "../../base/errors.ts";
import { PACKAGE, packageNamed } from "../../package/contents/manifest.ts";
import type { StoredPackage } from "../../protocol/package-messages.ts";
import { findModule } from "./modules.ts";
import type { NodeConnection } from "./connection.ts";
import { PushOptions, WaitOptions } from "../options/allocate-options.ts";
import { readOptions } from "../../options/read.ts";
import { show } from "../../base/show.ts";
import { untilAborted, throwIfAborted } from "../../base/waiting.ts";

/** The caches of packages of the nodes that an invoker leads to. */
export interface Packages {
  /**
   * Brings a module, or a package file, to each node ahead of a lease. Returns its hash: `package:HASH` names it from now on.
   *
   * @example
   * ```ts
   * const hash = await rf.packages.push("./fn.ts");
   * await using lease = await rf.allocate(`package:${hash}`);
   * ```
   * @throws {ModuleLoadError} the module is not there, or does not compile
   * @throws {PackageInvalid} it cannot be packed
   * @throws {PackageTooLarge} a node does not take it
   * @throws {LeaseRefused} a node cannot store it
   */
  push(module: string | URL, options?: PushOptions): Promise<string>;

  /** What the nodes have, the last used first. */
  list(options?: WaitOptions): Promise<StoredPackage[]>;

  /** Removes a package from each node. Throws {@link UsageError} when no node has it, or a lease uses it. */
  remove(hash: string, options?: WaitOptions): Promise<void>;
}

export class NodePackages implements Packages {
  readonly #connection: NodeConnection;

  constructor(connection: NodeConnection) {
    this.#connection = connection;
  }

  async push(module: string | URL, options?: PushOptions): Promise<string> {
    const { onProgress, signal, ...packaging } = readOptions("push", PushOptions, options);
    throwIfAborted(signal);
    const { package: made, name } = await untilAborted(findModule(module, packaging), signal);
    if (!made)
      throw new UsageError(`${name} has no bytes to push; name a module or a package file`);
    await this.#connection.packages.send(made, onProgress, signal);
    return made.hash;
  }

  async list(options?: WaitOptions): Promise<StoredPackage[]> {
    const { signal } = readOptions("list", WaitOptions, options);
    return await this.#connection.packages.list(signal);
  }

  async remove(hash: string, options?: WaitOptions): Promise<void> {
    const { signal } = readOptions("remove", WaitOptions, options);
    const digits =
      typeof hash === "string" && hash.startsWith(PACKAGE) ? hash.slice(PACKAGE.length) : hash;
    if (typeof hash !== "string" || !packageNamed(`${PACKAGE}${digits}`))
      throw new UsageError(
        `a package is named by the 64 hexadecimal digits of its hash; it is ${show(hash)}; see rfaas package ls`,
      );
    await this.#connection.packages.remove(digits, signal);
  }
}
