/** CommonJS, for which npm installs a copy of its own in every copy of TypeBox. */
const { FormatRegistry, Type } = require("@sinclair/typebox");
const { Value } = require("@sinclair/typebox/value");
const { defineFunction } = require("rfaas/function");

const Odd = Type.String({ format: "odd" });
FormatRegistry.Set("odd", (text) => text.length % 2 === 1);

exports.odd = defineFunction({ input: Odd, output: Type.Boolean() }, (text) =>
  Value.Check(Odd, text),
);
