/** A node's cache of packages, for whoever looks after it. */
import { UsageError } from "../../base/errors.ts";
import { PACKAGE, packageNamed } from "../../package/contents/manifest.ts";
import type { StoredPackage } from "../../protocol/package-messages.ts";
import { findModule } from "./modules.ts";
import type { NodeConnection } from "./connection.ts";
import { PushOptions, WaitOptions } from "../options/allocate-options.ts";
import { readOptions } from "../../options/read.ts";
import { show } from "../../base/show.ts";
import { untilAborted, throwIfAborted } from "../../base/waiting.ts";

export class NodePackages {
  readonly #connection: NodeConnection;

  /** @internal */
  constructor(connection: NodeConnection) {
    this.#connection = connection;
  }

  /**
   * Brings a module, or a package file, to the node ahead of a lease. Returns its hash: `package:HASH` names it from now on.
   *
   * @throws {ModuleLoadError} the module is not there, or does not compile
   * @throws {PackageInvalid} it cannot be packed
   * @throws {PackageTooLarge} the node does not take it
   * @throws {LeaseRefused} the node cannot store it
   */
  async push(module: string | URL, options?: PushOptions): Promise<string> {
    const { onProgress, signal, ...packaging } = readOptions("push", PushOptions, options);
    throwIfAborted(signal);
    const { package: made, name } = await untilAborted(findModule(module, packaging), signal);
    if (!made)
      throw new UsageError(`${name} has no bytes to push; name a module or a package file`);
    await this.#connection.packages.send(made, onProgress, signal);
    return made.hash;
  }

  /** What the node has, the last used first. */
  async list(options?: WaitOptions): Promise<StoredPackage[]> {
    const { signal } = readOptions("list", WaitOptions, options);
    return await this.#connection.packages.list(signal);
  }

  /** Removes a package. Throws {@link UsageError} when it is not there, or a lease uses it. */
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
