const ms = require("ms");
const isOdd = require("is-odd");

console.log(ms("2 days"), isOdd(3));
