/** Keeps the first tokens and every `step`-th of the others, of what is typed behind the file's name. */
export default ({ step = 2 } = {}) => ({
  name: 'every',
  attention: 'never',
  minimum: 2,
  begin: () => ({
    compress: (layers) =>
      layers.map((views) =>
        views.map(({ tokens, allowed }) => {
          const all = Int32Array.from({ length: tokens }, (_, token) => token);
          const chosen = all.filter((token) => token === 0 || token === tokens - 1 || token % step === 0);
          return { keep: chosen.length > allowed.entries ? chosen.slice(-allowed.entries) : chosen };
        }),
      ),
    evict: (entries, allowed) => (entries.length > allowed.entries ? entries.first : -1),
  }),
});
