/** A node's cache of packages, for whoever looks after it. */
import { UsageError } from "../errors.ts";
import type { PackageOptions } from "../package/builder.ts";
import { PACKAGE } from "../package/manifest.ts";
import type { StoredPackage } from "../protocol/package-messages.ts";
import { findModule } from "./modules.ts";
import type { NodeConnection } from "./node-connection.ts";
import type { UploadProgress } from "./package-upload.ts";

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
  async push(
    module: string | URL,
    options: PackageOptions & { onProgress?: (progress: UploadProgress) => void } = {},
  ): Promise<string> {
    const { package: made, name } = await findModule(module, options);
    if (!made)
      throw new UsageError(`${name} has no bytes to push; name a module or a package file`);
    await this.#connection.packages.send(made, options.onProgress);
    return made.hash;
  }

  /** What the node has, the last used first. */
  async list(): Promise<StoredPackage[]> {
    return await this.#connection.packages.list();
  }

  /** Removes a package. Throws {@link UsageError} when it is not there, or a lease uses it. */
  async remove(hash: string): Promise<void> {
    await this.#connection.packages.remove(
      hash.startsWith(PACKAGE) ? hash.slice(PACKAGE.length) : hash,
    );
  }
}
