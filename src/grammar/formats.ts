const DATE =
  '\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))';
const TIME = '(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)';
const BYTE = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]\\d|\\d)';
const LABEL = '[a-z0-9]{1,20}(?:-[a-z0-9]{1,20}){0,2}';
const HOST = `(?:${LABEL}\\.){1,4}[a-z]{2,12}`;

/**
 * The formats of JSON Schema that can be held to, as patterns. Not all texts that are of a format are written (no 29th of February, web addresses alone), but all that are written are.
 */
export const FORMATS: Readonly<Record<string, string>> = {
  date: `^${DATE}$`,
  time: `^${TIME}$`,
  'date-time': `^${DATE}T${TIME}$`,
  duration: '^P(?:\\d{1,4}D(?:T\\d{1,4}[HMS])?|T\\d{1,4}[HMS]|\\d{1,3}[WMY])$',
  uuid: '^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$',
  email: `^[a-z0-9]{1,20}(?:[._-][a-z0-9]{1,20}){0,2}@${HOST}$`,
  ipv4: `^(?:${BYTE}\\.){3}${BYTE}$`,
  hostname: `^${HOST}$`,
  uri: `^https?://${HOST}(?::[1-9]\\d{1,3})?(?:/[A-Za-z0-9._~-]{1,40}){0,8}/?$`,
};
