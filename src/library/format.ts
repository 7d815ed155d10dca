/** A format of binary modules: what a client does before a node loads such a module. */
export interface BinaryFormat {
  /** Paths of the files that the module at `path` needs and that nodes do not have: they go into its package, beside it. */
  companions(path: string): string[];
  /**
   * Looks into the module before a lease is asked for, without running anything of it. A file that cannot be read here is the node's
   * matter.
   *
   * @throws {ModuleLoadError} no node could load it
   */
  inspect(path: string): void;
}
