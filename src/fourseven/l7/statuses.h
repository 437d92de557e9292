/* What a status is called (RFC 9110 15, RFC 6585 and the IANA registry), and what our own answer
   says of it in one line. Indexed by status; a NULL reason: none is registered. */
#ifndef FOURSEVEN_STATUSES_H
#define FOURSEVEN_STATUSES_H

#define FOURSEVEN_STATUS_END 600

typedef struct {
    const char *reason;
    const char *hint; /* NULL: we never answer this by ourselves */
} StatusText;

static const StatusText FOURSEVEN_STATUSES[FOURSEVEN_STATUS_END] = {
    [200] = {"OK", 0},
    [201] = {"Created", 0},
    [202] = {"Accepted", 0},
    [203] = {"Non-Authoritative Information", 0},
    [204] = {"No Content", 0},
    [205] = {"Reset Content", 0},
    [206] = {"Partial Content", 0},
    [207] = {"Multi-Status", 0},
    [208] = {"Already Reported", 0},
    [226] = {"IM Used", 0},
    [300] = {"Multiple Choices", 0},
    [301] = {"Moved Permanently", 0},
    [302] = {"Found", 0},
    [303] = {"See Other", 0},
    [304] = {"Not Modified", 0},
    [307] = {"Temporary Redirect", 0},
    [308] = {"Permanent Redirect", 0},
    [400] = {"Bad Request", "the request is malformed"},
    [401] = {"Unauthorized", "credentials are needed"},
    [402] = {"Payment Required", 0},
    [403] = {"Forbidden", "this is not allowed"},
    [404] = {"Not Found", "no route matches"},
    [405] = {"Method Not Allowed", "this method is not served here"},
    [406] = {"Not Acceptable", 0},
    [407] = {"Proxy Authentication Required", 0},
    [408] = {"Request Timeout", "the request took too long to arrive"},
    [409] = {"Conflict", 0},
    [410] = {"Gone", 0},
    [411] = {"Length Required", "the body needs a length"},
    [412] = {"Precondition Failed", 0},
    [413] = {"Content Too Large", "the body is over the limit"},
    [414] = {"URI Too Long", "the request target is over the limit"},
    [415] = {"Unsupported Media Type", 0},
    [416] = {"Range Not Satisfiable", 0},
    [417] = {"Expectation Failed", "only 100-continue can be expected"},
    [418] = {"I'm a teapot", 0},
    [421] = {"Misdirected Request", "this connection is for another host"},
    [422] = {"Unprocessable Content", 0},
    [423] = {"Locked", 0},
    [424] = {"Failed Dependency", 0},
    [425] = {"Too Early", 0},
    [426] = {"Upgrade Required", 0},
    [428] = {"Precondition Required", 0},
    [429] = {"Too Many Requests", "slow down"},
    [431] = {"Request Header Fields Too Large", "the headers are over the limit"},
    [451] = {"Unavailable For Legal Reasons", 0},
    [500] = {"Internal Server Error", "the balancer failed"},
    [501] = {"Not Implemented", "this transfer coding or method is not known"},
    [502] = {"Bad Gateway", "the server gave no valid answer"},
    [503] = {"Service Unavailable", "no server is available"},
    [504] = {"Gateway Timeout", "the server took too long"},
    [505] = {"HTTP Version Not Supported", "speak HTTP/1.0 or HTTP/1.1"},
    [506] = {"Variant Also Negotiates", 0},
    [507] = {"Insufficient Storage", 0},
    [508] = {"Loop Detected", 0},
    [511] = {"Network Authentication Required", 0},
};
#endif
