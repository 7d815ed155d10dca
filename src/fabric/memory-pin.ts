/** Memory of a program's own that a fabric makes known; said apart from fabrics, of which tests of functions have none. */

export interface MemoryPin {
  /** Makes memory known as what lies at `offset` of the region's arena, to be read. Throws {@link UsageError} or {@link EnvironmentError}. */
  register(offset: number, memory: ArrayBufferView): void;
  /** Lets workers write it, too. Throws {@link EnvironmentError}. */
  registerOutput(offset: number, memory: ArrayBufferView): void;
  unregister(offset: number): void;
}
